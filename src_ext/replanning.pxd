from godb_fast._kernels.assessment cimport Assessor
from godb_fast._kernels.filters cimport Filters
from godb_fast._kernels.lexer cimport Fingerprint
from godb_fast._kernels.planner cimport Planner

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
    cpdef object estimate(self, object literals, object values, object added)
    cpdef object region(self, Fingerprint found, object values, Py_ssize_t slots)
    cpdef object choose(self, object own, object rule)
    cpdef object plan(self, long long number)
