from godb_fast._kernels.assessment cimport Assessor
from godb_fast._kernels.filters cimport Filters
from godb_fast._kernels.planner cimport Planner

cdef extern from *:
    """
    /* The address of an array's data: contiguous, of the element type that the caller knows. The caller holds
       the array for as long as the address is used. */
    static void *godb_numbers_of(PyObject *array) {
        Py_buffer view;
        void *data;
        if (PyObject_GetBuffer(array, &view, PyBUF_SIMPLE) < 0) return NULL;
        data = view.buf;
        PyBuffer_Release(&view);
        return data;
    }
    #define godb_double_numbers_of(array) ((double *) godb_numbers_of(array))
    #define godb_long_numbers_of(array) ((long long *) godb_numbers_of(array))
    #define godb_int_numbers_of(array) ((int *) godb_numbers_of(array))
    """
    double* doubles "godb_double_numbers_of" (object array) except NULL
    long long* longs "godb_long_numbers_of" (object array) except NULL
    int* ints "godb_int_numbers_of" (object array) except NULL


cdef class Replanner:
    cdef Filters filters
    cdef Planner planner
    cdef Assessor assessor
    cdef long long lanes, searched, relations
    cdef object model, log_rows, log_distinct, log_selectivity
    cdef object few_rows, few_distinct, few_selectivity
    cdef object found, plans, costs, which, summary, outcome
    cdef double* model_at
    cdef double* rows_at
    cdef double* distinct_at
    cdef double* selectivity_at
    cdef double* few_rows_at
    cdef double* few_distinct_at
    cdef double* few_selectivity_at
    cdef int* found_int
    cdef long long* found_long
    cdef double* found_double
    cdef int* plans_int
    cdef long long* plans_long
    cdef double* plans_double
    cdef double* costs_at
    cdef long long* which_at
    cdef double* summary_at
    cdef double* outcome_at
