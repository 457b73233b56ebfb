/* The hot part of AMQP in C: frames are told apart here, and properties and headers are read and written by rabbitmq-c.

   Whatever is not common is left to the codec in Python (`plain`), so that the two cannot differ in it: errors, types
   that headers rarely have, content in several frames.

   rabbitmq-c is opened at run time and its few structures are declared here, so that a built module serves wherever the
   library is, and no header is needed to build. Source: amqp.h and amqp_framing.h of rabbitmq-c 0.8 to 0.16, which share
   one binary interface (soname 4).

   All functions hold the GIL. A batch has a pool of its own, since collecting garbage may let another thread in. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* -- rabbitmq-c -------------------------------------------------------------------------------------------------- */

typedef struct { size_t len; void *bytes; } Bytes;
typedef struct { int count; struct Entry *entries; } Table;
typedef struct { int count; struct Value *entries; } Array;
typedef struct Value {
    uint8_t kind;
    union {
        int boolean;
        int8_t i8;
        uint8_t u8;
        int16_t i16;
        uint16_t u16;
        int32_t i32;
        uint32_t u32;
        int64_t i64;
        float f32;
        double f64;
        struct { uint8_t decimals; uint32_t value; } decimal;
        Bytes bytes;
        Table table;
        Array array;
    } as;
} Value;
typedef struct Entry { Bytes key; Value value; } Entry;
typedef struct {
    uint32_t flags;
    Bytes content_type, content_encoding;
    Table headers;
    uint8_t delivery_mode, priority;
    Bytes correlation_id, reply_to, expiration, message_id;
    uint64_t timestamp;
    Bytes type, user_id, app_id, cluster_id;
} Basic;
#if UINTPTR_MAX == UINT64_MAX
_Static_assert(sizeof(Value) == 24 && sizeof(Entry) == 40 && sizeof(Basic) == 200, "the structs are not rabbitmq-c's");
#endif
/* Twice the size that it has. */
typedef struct { void *opaque[16]; } Pool;

static struct {
    uint32_t (*version_number)(void);
    const char *(*version)(void);
    void (*init_pool)(Pool *, size_t);
    void (*recycle_pool)(Pool *);
    void (*empty_pool)(Pool *);
    void *(*alloc)(Pool *, size_t);
    int (*decode)(uint16_t, Pool *, Bytes, void **);
    int (*encode)(uint16_t, void *, Bytes);
} library;

enum { BASIC = 60, PAGE = 8192, DEPTH = 32, HEADERS = 0x2000, FIELDS = 14 };
/* Before 0.14 rabbitmq-c reads nested tables as deep as they are, with up to 300 bytes of stack for 5 of the table. */
static size_t largest_head = 4096;

static const struct { const char *name; uint32_t flag; size_t at; char form; } fields[FIELDS] = {
    {"content_type", 0x8000, offsetof(Basic, content_type), 's'},
    {"content_encoding", 0x4000, offsetof(Basic, content_encoding), 's'},
    {"headers", HEADERS, offsetof(Basic, headers), 'F'},
    {"delivery_mode", 0x1000, offsetof(Basic, delivery_mode), 'B'},
    {"priority", 0x0800, offsetof(Basic, priority), 'B'},
    {"correlation_id", 0x0400, offsetof(Basic, correlation_id), 's'},
    {"reply_to", 0x0200, offsetof(Basic, reply_to), 's'},
    {"expiration", 0x0100, offsetof(Basic, expiration), 's'},
    {"message_id", 0x0080, offsetof(Basic, message_id), 's'},
    {"timestamp", 0x0040, offsetof(Basic, timestamp), 'T'},
    {"type", 0x0020, offsetof(Basic, type), 's'},
    {"user_id", 0x0010, offsetof(Basic, user_id), 's'},
    {"app_id", 0x0008, offsetof(Basic, app_id), 's'},
    {"cluster_id", 0x0004, offsetof(Basic, cluster_id), 's'},
};

static PyObject *names[FIELDS], *n_exchange, *n_routing_key, *n_properties, *n_headers, *n_body, *incoming_names;
static PyObject *empty;

static PyObject *open_library(PyObject *self, PyObject *path) {
    (void)self;
    const char *file = PyUnicode_AsUTF8(path);
    if (file == NULL) return NULL;
    void *handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) return PyErr_Format(PyExc_OSError, "%s", dlerror());
    const struct { const char *name; void *to; } wanted[] = {
        {"amqp_version_number", &library.version_number}, {"amqp_version", &library.version},
        {"init_amqp_pool", &library.init_pool}, {"recycle_amqp_pool", &library.recycle_pool},
        {"empty_amqp_pool", &library.empty_pool}, {"amqp_pool_alloc", &library.alloc},
        {"amqp_decode_properties", &library.decode}, {"amqp_encode_properties", &library.encode},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        void *symbol = dlsym(handle, wanted[i].name);
        if (symbol == NULL) {
            library.decode = NULL;
            return PyErr_Format(PyExc_OSError, "%s has no function %s", file, wanted[i].name);
        }
        memcpy(wanted[i].to, &symbol, sizeof symbol);
    }
    if (library.version_number() >= 0x000e0000) largest_head = SIZE_MAX;
    return PyUnicode_FromString(library.version());
}

static int is_open(void) {
    if (library.decode == NULL) PyErr_SetString(PyExc_RuntimeError, "rabbitmq-c is not open");
    return library.decode != NULL;
}

/* -- bytes --------------------------------------------------------------------------------------------------------- */

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }
static uint64_t get64(const uint8_t *p) { return (uint64_t)get32(p) << 32 | get32(p + 4); }
static uint8_t *put16(uint8_t *p, uint16_t v) { p[0] = (uint8_t)(v >> 8); p[1] = (uint8_t)v; return p + 2; }
static uint8_t *put32(uint8_t *p, uint32_t v) { return put16(put16(p, (uint16_t)(v >> 16)), (uint16_t)v); }
static uint8_t *put64(uint8_t *p, uint64_t v) { return put32(put32(p, (uint32_t)(v >> 32)), (uint32_t)v); }
static uint8_t *put(uint8_t *p, const void *from, size_t n) { if (n) memcpy(p, from, n); return p + n; }
static uint8_t *put_frame(uint8_t *p, uint8_t kind, uint16_t channel, uint32_t size) {
    *p = kind;
    return put32(put16(p + 1, channel), size);
}

static PyObject *bytes_of(const uint8_t *p, size_t n) {
    if (n == 0) return Py_NewRef(empty);
    return PyBytes_FromStringAndSize((const char *)p, (Py_ssize_t)n);
}

/* Whether a string is made of these bytes; only asked of ASCII, where the two look the same. */
static int is_text(PyObject *known, const void *p, size_t n) {
    return known != NULL && PyUnicode_IS_COMPACT_ASCII(known) && (size_t)PyUnicode_GET_LENGTH(known) == n &&
           memcmp(PyUnicode_DATA(known), p, n) == 0;
}

/* Return a string, the one in `slot` if it is the same: most of what comes is like the message before. */
static PyObject *text(PyObject **slot, const void *p, size_t n) {
    if (is_text(*slot, p, n)) return Py_NewRef(*slot);
    PyObject *made = PyUnicode_DecodeUTF8(p, (Py_ssize_t)n, "backslashreplace");
    if (made != NULL) Py_XSETREF(*slot, Py_NewRef(made));
    return made;
}

/* -- from bytes to frames ------------------------------------------------------------------------------------------ */

enum { METHOD = 1, HEADER = 2, BODY = 3, HEARTBEAT = 8 };
static const uint32_t DELIVER = BASIC << 16 | 60, RETURN = BASIC << 16 | 50, PUBLISH = BASIC << 16 | 40;

static int known_kind(uint8_t kind) { return (kind >= METHOD && kind <= BODY) || kind == HEARTBEAT; }

static int add_event(PyObject *events, uint16_t channel, long number, PyObject *arguments, PyObject *head, PyObject *body) {
    PyObject *event = NULL, *c = PyLong_FromLong(channel), *m = PyLong_FromLong(number);
    if (c && m && arguments && head && body) event = PyTuple_Pack(5, c, m, arguments, head, body);
    Py_XDECREF(c);
    Py_XDECREF(m);
    Py_XDECREF(arguments);
    Py_XDECREF(head);
    Py_XDECREF(body);
    int failed = event == NULL || PyList_Append(events, event) < 0;
    Py_XDECREF(event);
    return failed ? -1 : 0;
}

/* See whether a header and one body frame follow at `p`. Return the size of both; 0: others follow; -n: n bytes have to be
   there to know more. */
static int64_t content_size(const uint8_t *p, uint64_t left, uint16_t channel, uint64_t most) {
    if (left < 1) return -1;
    if (p[0] != HEADER) return 0;
    if (left < 3) return -3;
    if (get16(p + 1) != channel) return 0;
    if (left < 7) return -7;
    if (get32(p + 3) < 14 || get32(p + 3) > most) return 0;
    if (left < 19) return -19;
    uint64_t body = get64(p + 11), middle = (uint64_t)get32(p + 3) + 8, end = middle + body + 8;
    if (body > most) return 0;
    if (left < middle) return -(int64_t)middle;
    if (p[middle - 1] != 0xCE) return 0;
    if (body == 0) return (int64_t)middle;
    if (left < middle + 1) return -(int64_t)(middle + 1);
    if (p[middle] != BODY) return 0;
    if (left < middle + 7) return -(int64_t)(middle + 7);
    if (get16(p + middle + 1) != channel || get32(p + middle + 3) != body) return 0;
    if (left < end) return -(int64_t)end;
    return p[end - 1] == 0xCE ? (int64_t)end : 0;
}

/* parse(data, at, ours, unfinished, most, events) -> (at, odd, needed): append what is whole. `odd` is the end of what
   Python has to look at, or 0; `needed` is how many bytes from `at` make the next frame or message whole. */
static PyObject *parse(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    if (count != 6 || !PyBytes_Check(args[0]) || !PyAnySet_Check(args[2]) || !PyDict_Check(args[3]) || !PyList_Check(args[5]))
        return PyErr_Format(PyExc_TypeError, "parse(data, at, ours, unfinished, most, events)");
    const uint8_t *data = (const uint8_t *)PyBytes_AS_STRING(args[0]);
    uint64_t size = (uint64_t)PyBytes_GET_SIZE(args[0]), at = PyLong_AsUnsignedLongLong(args[1]), odd = 0, needed = 0;
    uint64_t most = PyLong_AsUnsignedLongLong(args[4]);
    PyObject *events = args[5];
    if (PyErr_Occurred()) return NULL;
    long last = -1;
    int mine = 0, unfinished = 0;
    while (at < size) {
        const uint8_t *p = data + at;
        uint64_t left = size - at;
        if (left < 8) {
            if (!known_kind(p[0])) odd = size;
            needed = 8;
            break;
        }
        uint8_t kind = p[0];
        uint16_t channel = get16(p + 1);
        uint64_t length = get32(p + 3), whole = length + 8;
        if (whole > left) {
            if (!known_kind(kind) || length > most) odd = size;
            needed = whole;
            break;
        }
        if (!known_kind(kind) || p[whole - 1] != 0xCE) {
            odd = size;
            break;
        }
        if (channel != last) {
            PyObject *number = PyLong_FromLong(channel);
            mine = number == NULL ? -1 : PySet_Contains(args[2], number);
            unfinished = number == NULL ? -1 : PyDict_Contains(args[3], number);
            Py_XDECREF(number);
            if (mine < 0 || unfinished < 0) return NULL;
            last = channel;
        }
        if (kind == HEARTBEAT) {
            at += whole;
        } else if (!mine) {
            if (add_event(events, channel, -(long)kind, bytes_of(p + 7, length), bytes_of(p, 0), bytes_of(p, 0)) < 0)
                return NULL;
            at += whole;
        } else if (kind != METHOD || length < 4) {
            odd = kind == METHOD ? size : at + whole;
            break;
        } else {
            uint32_t number = get32(p + 7);
            PyObject *head = NULL, *body = NULL;
            uint64_t content = 0;
            if (number == DELIVER || number == RETURN) {
                int64_t found = unfinished ? 0 : content_size(p + whole, left - whole, channel, most);
                if (found == 0) odd = at + whole;
                if (found < 0) needed = whole + (uint64_t)-found;
                if (found <= 0) break;
                const uint8_t *q = p + whole;
                uint64_t middle = (uint64_t)get32(q + 3) + 8;
                content = (uint64_t)found;
                head = bytes_of(q + 7, middle - 8);
                body = content > middle ? bytes_of(q + middle + 7, content - middle - 8) : bytes_of(q, 0);
            } else {
                head = bytes_of(p, 0);
                body = bytes_of(p, 0);
            }
            if (add_event(events, channel, (long)number, bytes_of(p + 11, length - 4), head, body) < 0) return NULL;
            at += whole + content;
        }
    }
    return Py_BuildValue("KKK", (unsigned long long)at, (unsigned long long)odd, (unsigned long long)needed);
}

/* -- from content to objects --------------------------------------------------------------------------------------- */

/* NULL without an exception means, here and below: leave it to Python. `at` goes along the bytes, since rabbitmq-c lets
   a field be longer than the table that it is in. */

typedef struct { PyObject *key, *value; } Known;
static Known known[256];

static Known *known_key(const uint8_t *p, size_t n) {
    unsigned hash = (unsigned)n;
    for (size_t i = 0; i < n; i++) hash = hash * 31 + p[i];
    Known *slot = &known[(hash ^ hash >> 8) & 255];
    if (is_text(slot->key, p, n)) return slot;
    PyObject *key = PyUnicode_DecodeUTF8((const char *)p, (Py_ssize_t)n, "backslashreplace");
    if (key == NULL) return NULL;
    Py_XSETREF(slot->key, key);
    Py_CLEAR(slot->value);
    return slot;
}

static PyObject *read_table(const Table *table, const uint8_t **at, int depth);

static PyObject *read_text(const Bytes *raw, Known *slot) {
    if (slot != NULL && is_text(slot->value, raw->bytes, raw->len)) return Py_NewRef(slot->value);
    PyObject *made = PyUnicode_DecodeUTF8(raw->bytes, (Py_ssize_t)raw->len, NULL);
    if (made == NULL && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) PyErr_Clear();
    if (made != NULL && slot != NULL && raw->len <= 64) Py_XSETREF(slot->value, Py_NewRef(made));
    return made;
}

static PyObject *read_value(const Value *value, const uint8_t **at, int depth, Known *slot) {
    *at += 1;
    switch (value->kind) {
    case 'V': Py_RETURN_NONE;
    case 't': *at += 1; return PyBool_FromLong(value->as.boolean);
    case 'b': *at += 1; return PyLong_FromLong(value->as.i8);
    case 'B': *at += 1; return PyLong_FromLong(value->as.u8);
    case 's': *at += 2; return PyLong_FromLong(value->as.i16);
    case 'u': *at += 2; return PyLong_FromLong(value->as.u16);
    case 'I': *at += 4; return PyLong_FromLong(value->as.i32);
    case 'i': *at += 4; return PyLong_FromUnsignedLong(value->as.u32);
    case 'l':
    case 'L': *at += 8; return PyLong_FromLongLong(value->as.i64);
    case 'f': *at += 4; return PyFloat_FromDouble(value->as.f32);
    case 'd': *at += 8; return PyFloat_FromDouble(value->as.f64);
    case 'S': *at += 4 + value->as.bytes.len; return read_text(&value->as.bytes, slot);
    case 'x': *at += 4 + value->as.bytes.len; return bytes_of(value->as.bytes.bytes, value->as.bytes.len);
    case 'F': return depth < DEPTH ? read_table(&value->as.table, at, depth + 1) : NULL;
    case 'A': {
        if (depth >= DEPTH) return NULL;
        uint32_t declared = get32(*at);
        const uint8_t *start = *at += 4;
        PyObject *list = PyList_New(value->as.array.count);
        for (int i = 0; list != NULL && i < value->as.array.count; i++) {
            PyObject *item = read_value(&value->as.array.entries[i], at, depth + 1, NULL);
            if (item == NULL) Py_CLEAR(list);
            else PyList_SET_ITEM(list, i, item);
        }
        if (list != NULL && (size_t)(*at - start) != declared) Py_CLEAR(list);
        return list;
    }
    default: return NULL;
    }
}

static PyObject *read_table(const Table *table, const uint8_t **at, int depth) {
    uint32_t declared = get32(*at);
    const uint8_t *start = *at += 4;
    PyObject *dict = PyDict_New();
    for (int i = 0; dict != NULL && i < table->count; i++) {
        const Entry *entry = &table->entries[i];
        Known *slot = known_key(entry->key.bytes, entry->key.len);
        PyObject *key = slot == NULL ? NULL : Py_NewRef(slot->key), *value = NULL;
        *at += 1 + entry->key.len;
        if (key != NULL) value = read_value(&entry->value, at, depth, slot);
        if (value == NULL || PyDict_SetItem(dict, key, value) < 0) Py_CLEAR(dict);
        Py_XDECREF(key);
        Py_XDECREF(value);
    }
    if (dict != NULL && (size_t)(*at - start) != declared) Py_CLEAR(dict);
    return dict;
}

/* What all of a batch has in common. */
typedef struct { PyObject *queue, *incoming, *properties; Pool pool; } Reading;

static PyObject *keywords(uint32_t flags) {
    static uint32_t last = 0;
    static PyObject *tuple = NULL;
    if (tuple == NULL || last != flags) {
        Py_ssize_t n = 0;
        for (int i = 0; i < FIELDS; i++) n += fields[i].flag != HEADERS && flags & fields[i].flag;
        PyObject *made = PyTuple_New(n);
        if (made == NULL) return NULL;
        for (int i = FIELDS - 1; i >= 0; i--)
            if (fields[i].flag != HEADERS && flags & fields[i].flag) PyTuple_SET_ITEM(made, --n, Py_NewRef(names[i]));
        Py_XSETREF(tuple, made);
        last = flags;
    }
    return Py_NewRef(tuple);
}

/* Read what a header frame carries into properties and headers; both new, or neither. */
static PyObject *read_head(Reading *reading, PyObject *head, PyObject **headers) {
    static PyObject *before[FIELDS];
    const uint8_t *raw = (const uint8_t *)PyBytes_AS_STRING(head), *at = raw + 14;
    size_t size = (size_t)PyBytes_GET_SIZE(head);
    uint32_t flags = size < 14 ? 3 : get16(raw + 12);
    void *decoded = NULL;
    /* The lowest bits say that more flags follow, or nothing. */
    if (flags & 3 || size > largest_head) return NULL;
    if (library.decode(BASIC, &reading->pool, (Bytes){size - 12, (void *)(raw + 12)}, &decoded) != 0) return NULL;
    PyObject *values[FIELDS], *found = NULL, *kw;
    Py_ssize_t n = 0;
    *headers = NULL;
    for (int i = 0; i < FIELDS; i++) {
        if (!(flags & fields[i].flag)) continue;
        const void *field = (const char *)decoded + fields[i].at;
        PyObject *value;
        switch (fields[i].form) {
        case 's': {
            const Bytes *string = field;
            at += 1 + string->len;
            value = text(&before[i], string->bytes, string->len);
            break;
        }
        case 'B': at += 1; value = PyLong_FromLong(*(const uint8_t *)field); break;
        case 'T': at += 8; value = PyLong_FromUnsignedLongLong(*(const uint64_t *)field); break;
        default: value = read_table(field, &at, 0); break;
        }
        if (value == NULL) goto done;
        if (fields[i].form == 'F') *headers = value;
        else values[n++] = value;
    }
    if (at != raw + size) goto done;
    if (*headers == NULL && (*headers = PyDict_New()) == NULL) goto done;
    if ((kw = keywords(flags)) == NULL) goto done;
    found = PyObject_Vectorcall(reading->properties, values, 0, kw);
    Py_DECREF(kw);
done:
    while (n > 0) Py_DECREF(values[--n]);
    if (found == NULL) Py_CLEAR(*headers);
    return found;
}

static PyObject *read_one(Reading *reading, PyObject *event) {
    static PyObject *exchange_before, *key_before;
    if (!PyTuple_CheckExact(event) || PyTuple_GET_SIZE(event) != 5) return NULL;
    PyObject *arguments = PyTuple_GET_ITEM(event, 2), *head = PyTuple_GET_ITEM(event, 3);
    if (!PyBytes_CheckExact(arguments) || !PyBytes_CheckExact(head)) return NULL;
    const uint8_t *p = (const uint8_t *)PyBytes_AS_STRING(arguments);
    size_t size = (size_t)PyBytes_GET_SIZE(arguments), at = size ? 1 + (size_t)p[0] : 0;
    if (at == 0 || at + 10 > size || at + 10 + p[at + 9] >= size) return NULL;
    size_t key_at = at + 11 + p[at + 9];
    PyObject *headers, *made = NULL, *properties = read_head(reading, head, &headers);
    library.recycle_pool(&reading->pool);
    if (properties == NULL) return NULL;
    PyObject *values[] = {
        reading->queue,
        text(&exchange_before, p + at + 10, p[at + 9]),
        text(&key_before, p + key_at, size - key_at),
        p[at + 8] & 1 ? Py_True : Py_False,
        properties,
        headers,
        PyTuple_GET_ITEM(event, 4),
        PyLong_FromUnsignedLongLong(get64(p + at)),
    };
    if (values[1] && values[2] && values[7]) made = PyObject_Vectorcall(reading->incoming, values, 0, incoming_names);
    Py_XDECREF(values[1]);
    Py_XDECREF(values[2]);
    Py_DECREF(properties);
    Py_DECREF(headers);
    Py_XDECREF(values[7]);
    return made;
}

/* read(queue, events, Incoming, Properties, plain) -> [Incoming]; plain(queue, event) -> Incoming. */
static PyObject *read_events(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    (void)self;
    if (count != 5 || !PyList_Check(args[1]))
        return PyErr_Format(PyExc_TypeError, "read(queue, events, Incoming, Properties, plain)");
    if (!is_open()) return NULL;
    Reading reading = {.queue = args[0], .incoming = args[2], .properties = args[3]};
    PyObject *made = PyList_New(0);
    library.init_pool(&reading.pool, PAGE);
    for (Py_ssize_t i = 0; made != NULL && i < PyList_GET_SIZE(args[1]); i++) {
        PyObject *event = Py_NewRef(PyList_GET_ITEM(args[1], i)), *one = read_one(&reading, event);
        if (one == NULL && !PyErr_Occurred())
            one = PyObject_CallFunctionObjArgs(args[4], args[0], event, NULL);
        if (one == NULL || PyList_Append(made, one) < 0) Py_CLEAR(made);
        Py_XDECREF(one);
        Py_DECREF(event);
    }
    library.empty_pool(&reading.pool);
    return made;
}

/* -- from objects to bytes ----------------------------------------------------------------------------------------- */

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
static PyObject *compose(PyObject *self, PyObject *const *args, Py_ssize_t count) {
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

/* -- the module ---------------------------------------------------------------------------------------------------- */

static PyMethodDef functions[] = {
    {"open_library", open_library, METH_O, NULL},
    {"parse", (PyCFunction)(void (*)(void))parse, METH_FASTCALL, NULL},
    {"read", (PyCFunction)(void (*)(void))read_events, METH_FASTCALL, NULL},
    {"compose", (PyCFunction)(void (*)(void))compose, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "native", NULL, -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_native(void) {
    for (int i = 0; i < FIELDS; i++)
        if ((names[i] = PyUnicode_InternFromString(fields[i].name)) == NULL) return NULL;
    n_exchange = PyUnicode_InternFromString("exchange");
    n_routing_key = PyUnicode_InternFromString("routing_key");
    n_properties = PyUnicode_InternFromString("properties");
    n_headers = PyUnicode_InternFromString("headers");
    n_body = PyUnicode_InternFromString("body");
    empty = PyBytes_FromStringAndSize(NULL, 0);
    incoming_names = Py_BuildValue(
        "(ssssssss)", "queue", "exchange", "routing_key", "redelivered", "properties", "headers", "body", "tag");
    if (!n_exchange || !n_routing_key || !n_properties || !n_headers || !n_body || !empty || !incoming_names) return NULL;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(incoming_names); i++)
        PyUnicode_InternInPlace(&PyTuple_GET_ITEM(incoming_names, i));
    return PyModule_Create(&definition);
}
