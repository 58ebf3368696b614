cdef class Assessor:
    cdef dict held
    cdef long long size, width, classes, predicates, operators
    cdef long long* class_starts
    cdef long long* class_members
    cdef long long* class_sets
    cdef long long* entries
    cdef long long* predicate_sets
    cdef long long* constraints
    cdef double* model
    cdef double* logs
    cdef double* least
    cdef double* rows
    cdef double* totals
    cdef double* corrections
    cdef double* sums
    cdef long long _assess_at(
        self, long long lanes, long long searched, int* found_at, long long has_own, int* own_at, double* log_rows,
        double* log_distinct, double* log_selectivity, int* plans_int, long long* plans_long, double* plans_double,
        double* costs_at, long long* which_at, double* summary_at
    ) noexcept nogil
    cdef void _summarize(
        self, long long count, long long lanes, long long own, double* costs, double* summary
    ) noexcept nogil
    cdef void _inner(
        self, long long lanes, long long inside, long long offset, double* log_rows, double* log_distinct,
        double* log_selectivity
    ) noexcept nogil
    cdef void _correct(
        self, long long lanes, double* log_rows, double* log_distinct, double* log_selectivity
    ) noexcept nogil
    cdef void _cost(
        self, long long lanes, long long first, int* nodes, long long* nodes_long, double* log_rows,
        double* log_distinct, double* log_selectivity
    ) noexcept nogil
    cdef double _hash(self, long long left, long long right) noexcept nogil
    cdef double _merge(self, long long left, long long right) noexcept nogil


cdef long long choose_at(
    long long count, long long own, double* summary_at, double* rule_at, double* outcome_at
) noexcept nogil
