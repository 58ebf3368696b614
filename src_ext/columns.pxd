cdef class Packed:
    cdef bytes data
    cdef object ends, shares
    cdef unsigned char* data_at
    cdef long long* ends_at
    cdef double* shares_at
    cdef long long count, commons
    cdef double _mark(self, list pieces, long long first, long long last, int shares) noexcept


cdef class Column:
    cdef dict held, common
    cdef int domain
    cdef list order, bounds
    cdef str lowest, highest
    cdef long long count, commons
    cdef double* common_at
    cdef double* running_at
    cdef double* bounds_at
    cdef Packed texts, folded
    cdef Packed _packed(self, int fold)
    cdef double filled, rest, one, each, each_spread, outside, least
    cdef double _below(self, double value, int inclusive) noexcept
    cdef double _rest_below(self, double value, int inclusive) noexcept
    cdef double _text_rest_below(self, str value) except? -1.0
    cdef double _text_below(self, str value, int inclusive) except? -1.0


cdef object place(int domain, object literal)
cdef object place_at(int domain, unsigned char* data, Py_ssize_t start, Py_ssize_t end)
