from godb_fast._kernels.lexer cimport Fingerprint, Lexer

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef class Skeleton:
    cdef bytes key, raw, steps
    cdef unsigned char* raw_at
    cdef int* steps_at
    cdef Py_ssize_t count
    cdef long long hash, casing
    cdef int tokens, joins, nesting, flags, missed


cdef class Skeletons:
    cdef Lexer lexer
    cdef dict known
    cdef unsigned char* classes
    cdef int duckdb
    cdef Py_ssize_t most
    cdef unsigned long long[256] marks
    cdef Fingerprint _find(self, object sql)
    cdef object _learn(self, Fingerprint found, bytes key)
    cdef unsigned long long _signature(self, unsigned char* data, Py_ssize_t size) noexcept
    cdef Py_ssize_t _spans(
        self, Skeleton skeleton, unsigned char* data, Py_ssize_t size, int* slots, Py_ssize_t room
    ) noexcept
