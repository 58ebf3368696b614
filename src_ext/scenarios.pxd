cdef extern from *:
    """
    /* The address of an array's data: contiguous, of the element type that the caller knows. The caller holds
       the array for as long as the address is used. */
    static void *godb_floats_in(PyObject *array) {
        Py_buffer view;
        void *data;
        if (PyObject_GetBuffer(array, &view, PyBUF_SIMPLE) < 0) return NULL;
        data = view.buf;
        PyBuffer_Release(&view);
        return data;
    }
    #define godb_doubles_in(array) ((double *) godb_floats_in(array))
    """
    double* doubles "godb_doubles_in" (object array) except NULL
