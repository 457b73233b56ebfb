/* The module, and the library that it opens. */

#include "codec.h"
#include <dlfcn.h>

Library library;
PyObject *names[FIELDS], *empty;

const Field fields[FIELDS] = {
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
    library.largest_head = 4096;
    if (library.version_number() >= 0x000e0000) library.largest_head = SIZE_MAX;
    return PyUnicode_FromString(library.version());
}

int is_open(void) {
    if (library.decode == NULL) PyErr_SetString(PyExc_RuntimeError, "rabbitmq-c is not open");
    return library.decode != NULL;
}

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
    empty = PyBytes_FromStringAndSize(NULL, 0);
    if (empty == NULL || prepare_reading() < 0 || prepare_writing() < 0) return NULL;
    return PyModule_Create(&definition);
}
