cdef double extract(
    long long size, long long kind, long long node, long long* sets, long long* named, long long* names,
    int* slots, long long wrap, long long* below, int* ends, int* pairs, int* built, int* lookup_ends,
    int* lookup_left, long long lookups, long long operators, long long* constraints, long long* free,
    long long lanes, long long lane, double* rows, long long mode, double* model, double* a, double* b,
    double* m, double* x, long long* stack, int* out_int, long long* out_long, double* out_double
) noexcept nogil
cdef void recost(
    long long nodes, int* node_int, long long indexed, long long lanes, double* rows, double* model,
    double* costs
) noexcept nogil
