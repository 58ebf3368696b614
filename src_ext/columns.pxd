cdef extern from *:
    """
    /* The address of an array's data: contiguous, of the element type that the caller knows. The caller holds
       the array for as long as the address is used. */
    static void *godb_values_of(PyObject *array) {
        Py_buffer view;
        void *data;
        if (PyObject_GetBuffer(array, &view, PyBUF_SIMPLE) < 0) return NULL;
        data = view.buf;
        PyBuffer_Release(&view);
        return data;
    }
    #define godb_double_values(array) ((double *) godb_values_of(array))
    #define godb_long_values(array) ((long long *) godb_values_of(array))
    """
    double* doubles "godb_double_values" (object array) except NULL
    long long* longs "godb_long_values" (object array) except NULL


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


cdef object place(int domain, object literal)
