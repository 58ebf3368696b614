from godb_fast._kernels.columns cimport Column
from godb_fast._kernels.lexer cimport Fingerprint

cdef extern from "Python.h":
    const char* PyUnicode_AsUTF8AndSize(object text, Py_ssize_t* size) except NULL
    int compare "PyUnicode_Compare"(object one, object other) except? -1


cdef class Term:
    cdef int kind
    cdef Column column
    cdef list operands, parts
    cdef double share, spread
    cdef object closure, fixed
    cdef Py_ssize_t slot


cdef class Filters:
    cdef dict held
    cdef list filtered
    cdef long long lanes, count
    cdef double lowest, empty, width, share, spread
    cdef double* entries
    cdef double* weights
    cdef double* highest
    cdef double* guessing
    cdef double* found
    cdef double* logs
    cdef unsigned char* region
    cdef unsigned char* data
    cdef int* packed
    cdef int[64] tops
    cdef int reads
    cdef double _guess(self, long long i) noexcept
    cdef object _rows_at(self, object literals, object values, object added, double* out)
    cdef object _find(self, object literals, object values)
    cdef object _bucket_at(self, double* rows)
    cdef object _region_of(self, Fingerprint found, object values, Py_ssize_t slots)
    cdef object _value(self, int domain, Py_ssize_t slot, tuple literals)
    cdef list _values(self, int domain, Py_ssize_t slot, tuple literals)
    cdef long long _step(self, double value) noexcept
    cdef object _spread(self, object added, double* out_at)
    cdef object _filter(self, long long relation, list terms, tuple literals, object values)
    cdef int _estimate(self, Term term, tuple literals) except? -1
    cdef int _equal(self, Column column, object value) except? -1
    cdef int _in(self, Term term, tuple literals) except? -1
    cdef int _range(self, Term term, tuple literals) except? -1
    cdef int _text_range(self, Term term, tuple literals) except? -1
    cdef int _rest(self, Term term, tuple literals) except? -1
    cdef int _any(self, Term term, tuple literals) except? -1
    cdef int _all(self, Term term, tuple literals) except? -1
    cdef int _like(self, Column column, str text, int fold) except? -1
