cdef void join_greedily(
    long long size, long long edges, int* edge_ends, int* edge_starts, int* edge_predicates, int*
    class_starts, int* classes, int* class_entries, int* wide_starts, int* wides, long long
    predicate_count, int* predicate_sizes, double* log_rows, double* log_distinct, double*
    log_selectivity, int* heads, int* following, int* previous, int* ends, double* weights, double*
    values, int* class_heads, int* class_next, double* class_least, int* class_marks, int*
    wide_heads, int* wide_next, int* wide_left, int* wide_marks, double* logs, double* best, int*
    partner, int* stale, int* alive, int* via, int* nodes, int* inputs, double* node_rows, int*
    allowed
) noexcept nogil
cdef long long join_legally(
    long long size, long long epoch, int* class_starts, int* classes, int* class_entries, int*
    predicate_starts, int* predicates, int* predicate_sizes, double* log_rows, double* log_distinct,
    double* log_selectivity, long long* class_epochs, double* class_least, long long*
    predicate_epochs, int* predicate_seen, long long operators, long long* constraints, long long*
    free, long long* masks, int* alive, double* values, int* nodes, int* inputs, double* node_rows,
    int* allowed
) noexcept nogil
cdef double finish_tree(
    long long size, long long joins, long long masked, int* indexed, double* model, int* inputs,
    double* node_rows, int* allowed, int* operators, double* costs, int* counts, int* lowest, long
    long* masks, int* stack, int* out_int, long long* out_long, double* out_double
) noexcept nogil
cdef void list_leaves(
    long long size, long long root, int* inputs, int* stack, int* order
) noexcept nogil
