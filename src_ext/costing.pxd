cdef void search_pairs(
    long long count, long long* sets, int* ends, int* pairs, long long lanes, double* rows,
    long long mode, long long oriented, int* lookup_ends, int* lookup_left, long long lookups,
    double* model, double* best, double* a, double* b, double* m, double* x
) noexcept nogil
cdef void search_trees(
    long long count, long long* sets, long long* below, long long lanes, double* rows, long long mode,
    int* lookup_ends, int* lookup_left, long long lookups, double* model, double* best, double* a,
    double* b, double* m, double* x
) noexcept nogil
cdef void search_subsets(
    long long count, long long* sets, long long lanes, double* rows, long long mode, int* lookup_ends,
    int* lookup_left, long long lookups, double* model, double* best, double* a, double* b, double* m,
    double* x
) noexcept nogil
cdef void settle_until(
    long long start, long long stop, long long* sets, long long lanes, double* rows, long long mode,
    int* lookup_ends, int* lookup_left, long long lookups, double* model, double* found, double* best,
    double* a, double* b, double* m, double* x
) noexcept nogil
cdef void start_stream(long long count, double* found) noexcept nogil
cdef long long search_stream(
    long long settled, long long filled, int* chunk, long long* sets, long long lanes, double* rows,
    long long mode, long long oriented, int* lookup_ends, int* lookup_left, long long lookups,
    double* model, double* found, double* best, double* a, double* b, double* m, double* x
) noexcept nogil
cdef double scanned(double rows, double* model) noexcept nogil
cdef double joined(double inputs, double rows, double* model) noexcept nogil
cdef double paired(
    long long left, long long right, long long mode, long long oriented, double* a, double* b, double* m
) noexcept nogil
