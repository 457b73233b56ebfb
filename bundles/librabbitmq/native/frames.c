/* From bytes to frames. */

#include "codec.h"

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
PyObject *parse(PyObject *self, PyObject *const *args, Py_ssize_t count) {
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
