/* The hot part of AMQP in C: frames are told apart here, and properties and headers are read and written by rabbitmq-c.

   Whatever is not common is left to the codec in Python (`plain`), so that the two cannot differ in it: errors, types
   that headers rarely have, content in several frames.

   rabbitmq-c is opened at run time and its few structures are declared here, so that a built module serves wherever the
   library is, and no header is needed to build. Source: amqp.h and amqp_framing.h of rabbitmq-c 0.8 to 0.16, which share
   one binary interface (soname 4).

   All functions hold the GIL. A batch has a pool of its own, since collecting garbage may let another thread in. */

#ifndef CELERIAC_CODEC_H
#define CELERIAC_CODEC_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* What rabbitmq-c declares. */

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

typedef struct {
    uint32_t (*version_number)(void);
    const char *(*version)(void);
    void (*init_pool)(Pool *, size_t);
    void (*recycle_pool)(Pool *);
    void (*empty_pool)(Pool *);
    void *(*alloc)(Pool *, size_t);
    int (*decode)(uint16_t, Pool *, Bytes, void **);
    int (*encode)(uint16_t, void *, Bytes);
    /* Larger ones are left to Python: before 0.14 rabbitmq-c reads nested tables as deep as they are, with up to 300
       bytes of stack for 5 of the table. */
    size_t largest_head;
} Library;

extern Library library;

/* What of a message has which flag, in the order in which it is written. */

enum { BASIC = 60, PAGE = 8192, DEPTH = 32, HEADERS = 0x2000, FIELDS = 14 };
typedef struct { const char *name; uint32_t flag; size_t at; char form; } Field;
extern const Field fields[FIELDS];
extern PyObject *names[FIELDS], *empty;

/* Whether rabbitmq-c was opened; else an exception is set. */
int is_open(void);

PyObject *parse(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *read_events(PyObject *self, PyObject *const *args, Py_ssize_t count);
PyObject *compose(PyObject *self, PyObject *const *args, Py_ssize_t count);
int prepare_reading(void);
int prepare_writing(void);

/* Frames and numbers. */

enum { METHOD = 1, HEADER = 2, BODY = 3, HEARTBEAT = 8 };
static const uint32_t DELIVER = BASIC << 16 | 60, RETURN = BASIC << 16 | 50, PUBLISH = BASIC << 16 | 40;

static inline uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }
static inline uint64_t get64(const uint8_t *p) { return (uint64_t)get32(p) << 32 | get32(p + 4); }
static inline uint8_t *put16(uint8_t *p, uint16_t v) { p[0] = (uint8_t)(v >> 8); p[1] = (uint8_t)v; return p + 2; }
static inline uint8_t *put32(uint8_t *p, uint32_t v) { return put16(put16(p, (uint16_t)(v >> 16)), (uint16_t)v); }
static inline uint8_t *put64(uint8_t *p, uint64_t v) { return put32(put32(p, (uint32_t)(v >> 32)), (uint32_t)v); }
static inline uint8_t *put(uint8_t *p, const void *from, size_t n) { if (n) memcpy(p, from, n); return p + n; }
static inline uint8_t *put_frame(uint8_t *p, uint8_t kind, uint16_t channel, uint32_t size) {
    *p = kind;
    return put32(put16(p + 1, channel), size);
}

static inline PyObject *bytes_of(const uint8_t *p, size_t n) {
    if (n == 0) return Py_NewRef(empty);
    return PyBytes_FromStringAndSize((const char *)p, (Py_ssize_t)n);
}

#endif
