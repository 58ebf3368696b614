cdef void list_bases(
    long long count, long long* sets, int* slots, long long wrap, int* bases, int* added
) noexcept nogil
cdef void add_relation(
    long long relation, long long within, long long source, long long target, long long corrected,
    long long lanes, long long* names, int* class_starts, int* classes, long long* class_sets,
    int* class_entries, int* predicate_starts, int* predicates, long long* predicate_sets,
    int* predicate_entries, double* log_rows, double* log_distinct, double* log_selectivity,
    double* corrections, double* least, double* logs
) noexcept nogil
cdef long long take_factors(
    long long size, long long members, long long selective, long long operators, long long lanes,
    long long* names, double* log_rows, double* log_distinct, double* log_selectivity,
    double* corrections, double* factors
) noexcept nogil
cdef void multiply_relation(
    long long relation, long long within, long long source, long long target, long long lanes,
    long long first_member, long long first_selective, long long first_operator, int* class_starts,
    int* classes, long long* class_sets, int* class_entries, int* predicate_starts, int* predicates,
    long long* predicate_sets, int* predicate_entries, double* factors, double* least, double* rows
) noexcept nogil
cdef void estimate_masks(
    long long count, long long* masks, long long multiplied, long long first_member,
    long long first_selective, long long first_operator, double* factors, long long corrected,
    long long* sets, int* slots, long long wrap, int* bases, int* added, long long* chain,
    long long lanes, long long* names, int* class_starts, int* classes, long long* class_sets,
    int* class_entries, int* predicate_starts, int* predicates, long long* predicate_sets,
    int* predicate_entries, double* log_rows, double* log_distinct, double* log_selectivity,
    double* corrections, double* least, double* logs
) noexcept nogil
cdef void correct_operators(
    long long operators, long long* constraints, long long lanes, double* logs, double* corrections
) noexcept nogil
cdef void estimate_sets(
    long long count, long long multiplied, long long first_member, long long first_selective,
    long long first_operator, double* factors, long long* sets, int* bases, int* added, long long lanes,
    long long* names, int* class_starts, int* classes, long long* class_sets, int* class_entries,
    int* predicate_starts, int* predicates, long long* predicate_sets, int* predicate_entries,
    double* log_rows, double* log_distinct, double* log_selectivity, double* corrections, double* least,
    double* logs, double* rows
) noexcept nogil
cdef void exponentials(long long count, double* logs, double* rows) noexcept nogil
