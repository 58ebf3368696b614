cdef inline double least(long long pair, long long stop, int* pairs, double* a) noexcept nogil:
    # Two minima at once, which do not wait for each other. The first may count twice: an even number is left.
    cdef double best = 1e999
    cdef double second
    cdef double cost
    if pair < stop:
        cost = a[pairs[pair] & 65535] + a[(pairs[pair] >> 16) & 65535]
        best = cost if cost < best else best
        pair += (stop - pair) & 1
    second = best
    while pair < stop:
        cost = a[pairs[pair] & 65535] + a[(pairs[pair] >> 16) & 65535]
        best = cost if cost < best else best
        cost = a[pairs[pair + 1] & 65535] + a[(pairs[pair + 1] >> 16) & 65535]
        second = cost if cost < second else second
        pair += 2
    return second if second < best else best

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
