cdef extern from *:
    """
    /* The address of an array's data: contiguous, of the element type that the caller knows. The caller holds
       the array for as long as the address is used. */
    static void *godb_data_of(PyObject *array) {
        Py_buffer view;
        void *data;
        if (PyObject_GetBuffer(array, &view, PyBUF_SIMPLE) < 0) return NULL;
        data = view.buf;
        PyBuffer_Release(&view);
        return data;
    }
    #define godb_doubles_of(array) ((double *) godb_data_of(array))
    #define godb_longs_of(array) ((long long *) godb_data_of(array))
    #define godb_ints_of(array) ((int *) godb_data_of(array))
    """
    double* doubles "godb_doubles_of" (object array) except NULL
    long long* longs "godb_longs_of" (object array) except NULL
    int* ints "godb_ints_of" (object array) except NULL
