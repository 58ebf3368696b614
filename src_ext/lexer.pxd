cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL

cdef Py_ssize_t _quoted(
    unsigned char* data, Py_ssize_t size, Py_ssize_t i, int quote, int escapes
) noexcept nogil
cdef Py_ssize_t _number(
    unsigned char* data, Py_ssize_t size, Py_ssize_t i, unsigned char* classes, int duckdb, int* cells
) noexcept nogil

cdef class Fingerprint:
    cdef readonly long long hash, casing
    cdef readonly bytes key, packed, token_bytes
    cdef readonly object sql, dialect
    cdef readonly int tokens, joins, nesting, flags, error
    cdef readonly Py_ssize_t error_at
    cdef tuple _literals
    cdef tuple _texts(self)
    cdef Py_ssize_t _tops(self, int* tops, Py_ssize_t room) noexcept
    cdef list _read(self)


cdef class Lexer:
    cdef readonly object dialect
    cdef unsigned long long _seed
    cdef int _duckdb
    cdef bytes _classes, _fold
    cdef unsigned long long[2048] _keys
    cdef unsigned char[2048] _sizes, _lasts, _kinds, _reserved
    cdef object _run(self, object sql, bint wanted)
    cdef int _scan(
        self, Fingerprint found, unsigned char* data, Py_ssize_t size, unsigned char* out, int* slots, int* rows
    ) noexcept
