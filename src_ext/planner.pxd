# For Cython callers: an engine that plans in its own native code cimports the class. ``rows`` are doubles, one
# row of ``lanes`` per csg of ``relation_sets``; ``model`` the six coefficients; ``out`` a PLAN_NODE array.
cdef class Planner:
    cdef object layout, name
    cdef dict held
    cdef long long size, count, pair_count, kind, acyclic, wrap, slot_count, operators, indexed
    cdef long long lookups, capacity, lanes, reserved, spread, members, selective, multiplied
    cdef long long* adjacency
    cdef long long* below
    cdef long long* names
    cdef long long* constraints
    cdef long long* free
    cdef long long* sets
    cdef long long* near
    cdef long long* named
    cdef long long* class_sets
    cdef long long* predicate_sets
    cdef long long* operator_sets
    cdef long long* stack
    cdef int* slots
    cdef int* ends
    cdef int* pairs
    cdef int* built
    cdef int* lookup_ends
    cdef int* lookup_left
    cdef int* bases
    cdef int* added
    cdef int* class_starts
    cdef int* classes
    cdef int* class_entries
    cdef int* predicate_starts
    cdef int* predicates
    cdef int* predicate_entries
    cdef int* chunk
    cdef int* oriented
    cdef double* a
    cdef double* b
    cdef double* m
    cdef double* x
    cdef double* found
    cdef double* rows
    cdef double* logs
    cdef double* least
    cdef double* corrections
    cdef double* operator_logs
    cdef double* factors
    cpdef long long search(self, long long lanes, object rows, object model, object out) except -1
    cpdef object estimate(self, long long lanes, object log_rows, object log_distinct, object log_selectivity)
    cdef object _estimate_at(
        self, long long lanes, double* log_rows, double* log_distinct, double* log_selectivity
    )
    cdef object _search_at(
        self, long long lanes, bint own_rows, double* rows, double* model, int* int_at, long long* long_at,
        double* double_at
    )
    cdef void _prepare(
        self, long long lanes, double* log_rows, double* log_distinct, double* log_selectivity
    ) noexcept nogil
    cdef void _search(
        self, long long lanes, double* rows, long long mode, long long lookups, double* model
    ) noexcept nogil
    cdef void _stream(
        self, long long lanes, double* rows, long long mode, long long oriented, long long lookups, double* model
    ) noexcept nogil
