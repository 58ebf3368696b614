cdef double rows_of(
    double value
) noexcept nogil
cdef void log_rows_of_list(
    long long count, int* members, long long epoch, int* class_starts, int* classes, int*
    class_entries, int* predicate_starts, int* predicates, int* predicate_sizes, double* log_rows,
    double* log_distinct, double* log_selectivity, long long* class_epochs, double* class_least,
    long long* predicate_epochs, int* predicate_seen, double* prefixes
) noexcept nogil
cdef double log_rows_of_mask(
    long long mask, long long size, long long epoch, int* class_starts, int* classes, int*
    class_entries, int* predicate_starts, int* predicates, int* predicate_sizes, double* log_rows,
    double* log_distinct, double* log_selectivity, long long* class_epochs, double* class_least,
    long long* predicate_epochs, int* predicate_seen
) noexcept nogil
cdef void sum_weights(
    long long edges, int* edge_starts, int* edge_predicates, double* log_selectivity, double*
    weights
) noexcept nogil
cdef void weigh_edges(
    long long size, long long edges, int* near_starts, int* near, int* near_edges, int* edge_starts,
    int* edge_predicates, int* class_starts, int* classes, int* class_entries, double* log_distinct,
    double* log_selectivity, int* found, double* weights
) noexcept nogil
cdef long long span(
    long long size, int* near_starts, int* near, int* near_edges, double* weights, int* done,
    double* nearest, int* parent, int* visit, int* ends, int* border
) noexcept nogil
cdef double linearize(
    long long start, long long stop, int* visit, int* parent, double* parent_weight, double*
    log_rows, int* number, int* sizes, int* slots, int* starts, int* offsets, int* modules, int*
    chains, double* part_rows, double* part_cost, double* part_rank, int* part_length, int*
    sequence, double* list_rank, int* list_module, int* list_tag, int* order
) noexcept nogil
cdef double search_intervals(
    long long start, long long stop, long long size, int* order, int* position, int* near_starts,
    int* near, int* near_edges, double* edge_weights, long long epoch, int* class_starts, int*
    classes, int* class_entries, int* wide_starts, int* wides, int* predicate_sizes, double*
    log_rows, double* log_distinct, double* log_selectivity, long long* class_epochs, double*
    class_least, long long* predicate_epochs, int* predicate_seen, long long mode, int* indexed,
    double* model, long long operators, long long* constraints, long long* free, long long* within,
    long long* bits, int* inside, int* crossing, double* crossing_weights, double* inside_weights, double* sums,
    double* rows, double* a, double* b, double* m, double* x, double* column_a, double* column_b
) noexcept nogil
cdef long long extract_intervals(
    long long start, long long stop, long long size, long long top, int* order, long long mode, long
    long lookups, int* indexed, long long operators, long long* constraints, long long* free, long
    long* within, int* inside, double* rows, double* a, double* b, double* m, double* x, double* column_a, int* stack,
    int* inputs, double* node_rows, int* allowed
) noexcept nogil
cdef long long joinable(
    long long first, long long second, long long operators, long long* constraints, long long* free
) noexcept nogil
