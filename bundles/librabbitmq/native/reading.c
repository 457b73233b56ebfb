/* From the content of messages to objects. */

#include "codec.h"

static PyObject *incoming_names;

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
    if (flags & 3 || size > library.largest_head) return NULL;
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
PyObject *read_events(PyObject *self, PyObject *const *args, Py_ssize_t count) {
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

int prepare_reading(void) {
    incoming_names = Py_BuildValue(
        "(ssssssss)", "queue", "exchange", "routing_key", "redelivered", "properties", "headers", "body", "tag");
    if (incoming_names == NULL) return -1;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(incoming_names); i++)
        PyUnicode_InternInPlace(&PyTuple_GET_ITEM(incoming_names, i));
    return 0;
}
