cdef void plain_pairs(
    long long count, long long* sets, int* ends, int* pairs, double* rows, double output, double* a
) noexcept nogil
cdef void plain_trees(
    long long count, long long* sets, long long* below, double* rows, double output, double* a
) noexcept nogil
cdef void plain_subsets(
    long long count, long long* sets, double* rows, double output, double* a
) noexcept nogil
cdef void plain_start(long long count, long long* sets, double* a) noexcept nogil
cdef void plain_stop(
    long long settled, long long count, long long* sets, double* rows, double output, double* a
) noexcept nogil
cdef long long plain_stream(
    long long settled, long long filled, int* chunk, long long* sets, double* rows, double output,
    double* a
) noexcept nogil
cdef long long count_invalid(long long count, double* rows) noexcept nogil
