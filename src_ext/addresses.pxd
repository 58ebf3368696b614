# What a kernel that owns its memory reads through bare pointers: the address of an array's data, contiguous and
# of the element type that the caller knows. The caller holds the array for as long as the address is used.
cdef extern from *:
    """
    static CYTHON_INLINE void *godb_address(PyObject *array) {
        Py_buffer view;
        void *data;
        if (PyObject_GetBuffer(array, &view, PyBUF_SIMPLE) < 0) return NULL;
        data = view.buf;
        PyBuffer_Release(&view);
        return data;
    }
    #define godb_doubles(array) ((double *) godb_address(array))
    #define godb_longs(array) ((long long *) godb_address(array))
    #define godb_ints(array) ((int *) godb_address(array))
    #define godb_floats(array) ((float *) godb_address(array))
    """
    double* doubles "godb_doubles" (object array) except NULL
    long long* longs "godb_longs" (object array) except NULL
    int* ints "godb_ints" (object array) except NULL
    float* floats "godb_floats" (object array) except NULL
