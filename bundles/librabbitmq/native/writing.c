/* From objects to the bytes of frames. */

#include "codec.h"

static PyObject *n_exchange, *n_routing_key, *n_properties, *n_headers, *n_body;

/* 0 here and below: leave it to Python. No Python code runs between looking at a message and having written it. */

static int utf8(PyObject *string, Bytes *to, size_t most) {
    Py_ssize_t n;
    if (!PyUnicode_CheckExact(string)) return 0;
    to->bytes = (void *)PyUnicode_AsUTF8AndSize(string, &n);
    if (to->bytes == NULL) PyErr_Clear();
    to->len = (size_t)n;
    return to->bytes != NULL && to->len <= most;
}

static size_t write_table(PyObject *dict, Table *to, Pool *pool, int depth);

/* Say for rabbitmq-c what a value is; return its size with its kind. */
static size_t write_value(PyObject *value, Value *to, Pool *pool, int depth) {
    if (value == Py_None) {
        to->kind = 'V';
        return 1;
    }
    if (PyUnicode_CheckExact(value)) {
        to->kind = 'S';
        return utf8(value, &to->as.bytes, INT32_MAX) ? 5 + to->as.bytes.len : 0;
    }
    if (PyBool_Check(value)) {
        to->kind = 't';
        to->as.boolean = value == Py_True;
        return 2;
    }
    if (PyLong_CheckExact(value)) {
        int overflow;
        long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (overflow) return 0;
        if (number >= INT32_MIN && number <= INT32_MAX) {
            to->kind = 'I';
            to->as.i32 = (int32_t)number;
            return 5;
        }
        to->kind = 'l';
        to->as.i64 = number;
        return 9;
    }
    if (PyFloat_CheckExact(value)) {
        to->kind = 'd';
        to->as.f64 = PyFloat_AS_DOUBLE(value);
        return 9;
    }
    if (PyBytes_CheckExact(value) && PyBytes_GET_SIZE(value) <= INT32_MAX) {
        to->kind = 'x';
        to->as.bytes = (Bytes){(size_t)PyBytes_GET_SIZE(value), PyBytes_AS_STRING(value)};
        return 5 + to->as.bytes.len;
    }
    if (depth >= DEPTH) return 0;
    if (PyDict_CheckExact(value)) {
        to->kind = 'F';
        size_t size = write_table(value, &to->as.table, pool, depth + 1);
        return size ? size + 1 : 0;
    }
    if (PyList_CheckExact(value) || PyTuple_CheckExact(value)) {
        Py_ssize_t n = PySequence_Fast_GET_SIZE(value);
        size_t size = 5;
        if (n > INT32_MAX) return 0;
        to->kind = 'A';
        to->as.array.count = (int)n;
        to->as.array.entries = n ? library.alloc(pool, (size_t)n * sizeof(Value)) : NULL;
        if (n && to->as.array.entries == NULL) return 0;
        for (Py_ssize_t i = 0; i < n; i++) {
            PyObject *item = PySequence_Fast_GET_ITEM(value, i);
            size_t more = write_value(item, &to->as.array.entries[i], pool, depth + 1);
            if (more == 0) return 0;
            size += more;
        }
        return size;
    }
    return 0;
}

static size_t write_table(PyObject *dict, Table *to, Pool *pool, int depth) {
    Py_ssize_t n = PyDict_GET_SIZE(dict), place = 0;
    PyObject *key, *value;
    size_t size = 4;
    if (n > INT32_MAX) return 0;
    to->count = 0;
    to->entries = n ? library.alloc(pool, (size_t)n * sizeof(Entry)) : NULL;
    if (n && to->entries == NULL) return 0;
    while (PyDict_Next(dict, &place, &key, &value)) {
        Entry *entry = &to->entries[to->count++];
        size_t more = utf8(key, &entry->key, 255) ? write_value(value, &entry->value, pool, depth) : 0;
        if (more == 0) return 0;
        size += 1 + entry->key.len + more;
    }
    return size;
}

/* Pieces that are full, and the one that is being written. */
typedef struct { PyObject *pieces, *piece; size_t used; } Output;

static uint8_t *room(Output *out, size_t more) {
    size_t size = (size_t)PyBytes_GET_SIZE(out->piece);
    if (size - out->used < more) {
        size_t wanted = out->used + more;
        if (_PyBytes_Resize(&out->piece, (Py_ssize_t)(wanted < size * 2 ? size * 2 : wanted)) < 0) return NULL;
    }
    return (uint8_t *)PyBytes_AS_STRING(out->piece) + out->used;
}

/* Finish a piece and begin another of `next` bytes, or none. */
static int finish(Output *out, size_t next) {
    if (_PyBytes_Resize(&out->piece, (Py_ssize_t)out->used) < 0) return -1;
    int failed = out->used ? PyList_Append(out->pieces, out->piece) : 0;
    out->used = 0;
    Py_SETREF(out->piece, next ? PyBytes_FromStringAndSize(NULL, (Py_ssize_t)next) : NULL);
    return failed < 0 || (next && out->piece == NULL) ? -1 : 0;
}

/* Fill in the properties that are there; return their size with the flags. */
static size_t write_basic(PyObject *given, PyObject *headers, Basic *to, Pool *pool) {
    size_t size = 2;
    to->flags = 0;
    for (int i = 0; i < FIELDS; i++) {
        void *field = (char *)to + fields[i].at;
        if (fields[i].form == 'F') {
            if (PyDict_GET_SIZE(headers) == 0) continue;
            size_t more = write_table(headers, field, pool, 0);
            if (more == 0) return 0;
            size += more;
            to->flags |= HEADERS;
            continue;
        }
        PyObject *value = PyObject_GetAttr(given, names[i]);
        if (value == NULL) {
            PyErr_Clear();
            return 0;
        }
        /* Who gave it goes on holding it. */
        Py_DECREF(value);
        if (value == Py_None) continue;
        to->flags |= fields[i].flag;
        if (fields[i].form == 's') {
            if (!utf8(value, field, 255)) return 0;
            size += 1 + ((Bytes *)field)->len;
            continue;
        }
        if (!PyLong_CheckExact(value)) return 0;
        unsigned long long number = PyLong_AsUnsignedLongLong(value);
        if (PyErr_Occurred()) {
            PyErr_Clear();
            return 0;
        }
        if (fields[i].form == 'T') {
            *(uint64_t *)field = number;
            size += 8;
        } else if (number <= 255) {
            *(uint8_t *)field = (uint8_t)number;
            size += 1;
        } else {
            return 0;
        }
    }
    return size;
}

typedef struct { PyObject *exchange, *key, *properties, *headers, *body; } Parts;

/* Write the frames of a message; return -1 with an exception, 0 for Python, or 1. */
static int write_one(const Parts *parts, int mandatory, uint16_t channel, size_t most, Output *out, Pool *pool) {
    Bytes exchange, key;
    Basic basic;
    if (!utf8(parts->exchange, &exchange, 255) || !utf8(parts->key, &key, 255)) return 0;
    if (!PyDict_CheckExact(parts->headers) || !PyBytes_CheckExact(parts->body)) return 0;
    size_t content = write_basic(parts->properties, parts->headers, &basic, pool);
    if (content == 0 || content + 12 > most) return 0;
    size_t body = (size_t)PyBytes_GET_SIZE(parts->body), frames = body ? (body - 1) / most + 1 : 0;
    size_t publish = 4 + 2 + 1 + exchange.len + 1 + key.len + 1;
    uint8_t *p = room(out, publish + 8 + content + 12 + 8 + body + frames * 8);
    if (p == NULL) return -1;
    p = put32(put_frame(p, METHOD, channel, (uint32_t)publish), PUBLISH);
    p = put16(p, 0);
    *p++ = (uint8_t)exchange.len;
    p = put(p, exchange.bytes, exchange.len);
    *p++ = (uint8_t)key.len;
    p = put(p, key.bytes, key.len);
    *p++ = (uint8_t)mandatory;
    *p++ = 0xCE;
    p = put_frame(p, HEADER, channel, (uint32_t)(content + 12));
    p = put64(put16(put16(p, BASIC), 0), body);
    if (library.encode(BASIC, &basic, (Bytes){content, p}) != (int)content) return 0;
    p += content;
    *p++ = 0xCE;
    for (size_t at = 0; at < body; at += most) {
        size_t part = body - at < most ? body - at : most;
        p = put_frame(p, BODY, channel, (uint32_t)part);
        p = put(p, PyBytes_AS_STRING(parts->body) + at, part);
        *p++ = 0xCE;
    }
    out->used = (size_t)(p - (uint8_t *)PyBytes_AS_STRING(out->piece));
    return 1;
}

static int compose_one(PyObject *message, int mandatory, uint16_t channel, size_t most, Output *out, Pool *pool) {
    Parts parts = {
        PyObject_GetAttr(message, n_exchange), PyObject_GetAttr(message, n_routing_key),
        PyObject_GetAttr(message, n_properties), PyObject_GetAttr(message, n_headers),
        PyObject_GetAttr(message, n_body),
    };
    int done = 0;
    if (parts.exchange && parts.key && parts.properties && parts.headers && parts.body)
        done = write_one(&parts, mandatory, channel, most, out, pool);
    else
        PyErr_Clear();
    library.recycle_pool(pool);
    Py_XDECREF(parts.exchange);
    Py_XDECREF(parts.key);
    Py_XDECREF(parts.properties);
    Py_XDECREF(parts.headers);
    Py_XDECREF(parts.body);
    return done;
}

static int compose_plainly(PyObject *plain, PyObject *message, PyObject *mandatory, Output *out) {
    PyObject *written = PyObject_CallFunctionObjArgs(plain, message, mandatory, NULL);
    if (written == NULL) return -1;
    uint8_t *p = NULL;
    if (PyBytes_CheckExact(written)) p = room(out, (size_t)PyBytes_GET_SIZE(written));
    else PyErr_SetString(PyExc_TypeError, "plain() must return bytes");
    if (p != NULL) {
        put(p, PyBytes_AS_STRING(written), (size_t)PyBytes_GET_SIZE(written));
        out->used += (size_t)PyBytes_GET_SIZE(written);
    }
    Py_DECREF(written);
    return p == NULL ? -1 : 1;
}

/* compose(messages, mandatory, channel, most, piece, plain) -> [bytes], of about `piece` bytes each. */
PyObject *compose(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    if (count != 6) return PyErr_Format(PyExc_TypeError, "compose(messages, mandatory, channel, most, piece, plain)");
    if (!is_open()) return NULL;
    int mandatory = PyObject_IsTrue(args[1]);
    unsigned long channel = PyLong_AsUnsignedLong(args[2]);
    size_t most = PyLong_AsSize_t(args[3]), piece = PyLong_AsSize_t(args[4]);
    PyObject *messages = PyErr_Occurred() ? NULL : PySequence_Fast(args[0], "messages must be a sequence");
    if (messages == NULL) return NULL;
    Py_ssize_t n = PySequence_Fast_GET_SIZE(messages);
    size_t start = (size_t)(n > 256 ? 256 : n) * 1024;
    Output out = {PyList_New(0), PyBytes_FromStringAndSize(NULL, (Py_ssize_t)start), 0};
    int failed = out.pieces == NULL || out.piece == NULL;
    Pool pool;
    library.init_pool(&pool, PAGE);
    for (Py_ssize_t i = 0; !failed && i < PySequence_Fast_GET_SIZE(messages); i++) {
        PyObject *message = Py_NewRef(PySequence_Fast_GET_ITEM(messages, i));
        int done = compose_one(message, mandatory, (uint16_t)channel, most, &out, &pool);
        if (done == 0) done = compose_plainly(args[5], message, args[1], &out);
        failed = done < 0 || (out.used >= piece && finish(&out, start) < 0);
        Py_DECREF(message);
    }
    library.empty_pool(&pool);
    Py_DECREF(messages);
    if (!failed) failed = finish(&out, 0) < 0;
    Py_XDECREF(out.piece);
    if (failed) Py_CLEAR(out.pieces);
    return out.pieces;
}

int prepare_writing(void) {
    n_exchange = PyUnicode_InternFromString("exchange");
    n_routing_key = PyUnicode_InternFromString("routing_key");
    n_properties = PyUnicode_InternFromString("properties");
    n_headers = PyUnicode_InternFromString("headers");
    n_body = PyUnicode_InternFromString("body");
    return n_exchange && n_routing_key && n_properties && n_headers && n_body ? 0 : -1;
}
