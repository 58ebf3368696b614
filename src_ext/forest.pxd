cdef long long forest_scores(
    long long trees, long long columns, double missing, double base, long long logistic, int* integers,
    float* reals, float* inputs, long long first, long long count, double* rows, double* out
) noexcept nogil
