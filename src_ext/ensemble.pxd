cdef class Ensemble:
    cdef tuple held
    cdef long long trees, columns, logistic, most
    cdef double base, missing
    cdef int* integers
    cdef float* reals
    cdef float* inputs
    cpdef object scores(self, object rows, object out)
