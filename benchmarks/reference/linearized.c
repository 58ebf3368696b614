/* Plain C linearized dynamic programming over an acyclic join graph, to measure the kernels against.
 *
 * IKKBZ for every root in O(n^2) together (the chain of a subtree seen from a neighbour is kept per directed
 * edge, and re-rooting turns one edge), then the exact search over the intervals of that order (C_out). The
 * spanning tree is found first (Prim), as for any graph.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef _MSC_VER
#define EXPORT __declspec(dllexport)
#else
#define EXPORT
#endif

typedef struct { double rows, cost, rank; int length, first, from; } module;
typedef struct { int count, start; } chain;

typedef struct {
    int n, *degree, *slot, *other, *reverse, *members;
    chain *chains;          /* per directed edge */
    module *modules, *list; /* chains' modules; the merged list */
    int *sequence;          /* relations of the chains */
} space;

static inline double bounded(double x) { return x > 1e150 ? 1e150 : x < 1e-150 ? 1e-150 : x; }
static inline double power(double x) { return exp(x > 600 ? 600 : x < -600 ? -600 : x); }

static int merge(const space *s, int relation, int skip) {
    int count = 0;
    for (int e = s->slot[relation]; e < s->slot[relation + 1]; e++) {
        if (e == skip) continue;
        const chain *c = &s->chains[e];
        int i = count - 1, j = c->count - 1, k = count + c->count - 1;
        count += c->count;
        for (; j >= 0; k--) {
            if (i >= 0 && s->list[i].rank > s->modules[c->start + j].rank) s->list[k] = s->list[i--];
            else { s->list[k] = s->modules[c->start + j--]; s->list[k].from = e; }
        }
    }
    return count;
}

static void build(const space *s, int relation, double factor, int target, int skip, int count) {
    chain *c = &s->chains[target];
    int at = c->start, filled = c->start + 1, i = 0;
    module root = {bounded(factor), bounded(factor), 0, 1, c->start, target};
    root.rank = (root.rows - 1) / root.cost;
    s->sequence[at] = relation;
    for (; i < count; i++) {
        const module *m = &s->list[i];
        if (m->from == skip) continue;
        if (!(m->rank < root.rank)) break;
        root.cost = bounded(root.cost + root.rows * m->cost);
        root.rows = bounded(root.rows * m->rows);
        root.rank = (root.rows - 1) / root.cost;
        memcpy(s->sequence + filled, s->sequence + m->first, sizeof(int) * m->length);
        filled += m->length;
    }
    root.length = filled - c->start;
    s->modules[at++] = root;
    for (; i < count; i++) {
        const module *m = &s->list[i];
        if (m->from == skip) continue;
        s->modules[at] = *m;
        memcpy(s->sequence + filled, s->sequence + m->first, sizeof(int) * m->length);
        s->modules[at++].first = filled;
        filled += m->length;
    }
    c->count = at - c->start;
}

/* order of the cheapest left-deep tree; parent_slot[v]: the edge from parent to v, its reverse is v's first */
static void order_relations(const space *s, const int *parent, const int *parent_slot, const double *weight,
                            const double *log_rows, int *order) {
    double best = INFINITY;
    for (int v = s->n - 1; v > 0; v--) {
        int count = merge(s, v, s->slot[v]);
        build(s, v, power(log_rows[v] + weight[v]), parent_slot[v], -1, count);
    }
    for (int u = 0; u < s->n; u++) {
        int count = merge(s, u, -1);
        double rows = bounded(power(log_rows[u])), cost = 0;
        for (int i = 0; i < count; i++) {
            cost = bounded(cost + rows * s->list[i].cost);
            rows = bounded(rows * s->list[i].rows);
        }
        if (cost < best) {
            int at = 1;
            best = cost;
            order[0] = u;
            for (int i = 0; i < count; i++) {
                memcpy(order + at, s->sequence + s->list[i].first, sizeof(int) * s->list[i].length);
                at += s->list[i].length;
            }
        }
        for (int e = s->slot[u] + (u > 0); e < s->slot[u + 1]; e++) {
            int v = s->other[e];
            build(s, u, power(log_rows[u] + weight[v]), s->slot[v], e, count);
        }
    }
}

/* The cost of the best plan; `work` is zeroed scratch of at least scratch_bytes(n). */
EXPORT int64_t scratch_bytes(int n) {
    int64_t square = (int64_t)n * n;
    return square * (sizeof(module) + 5 * sizeof(double) + 2 * sizeof(int)) + n * (int64_t)4096 + 65536;
}

EXPORT double linearized(int n, const int *starts, const int *near, const double *near_weight,
                         const double *given_rows, char *work, int *tree) {
    space s = {n};
#define TAKE(type, count) (type *)work; work += (((count) * sizeof(type)) + 15) / 16 * 16
    s.modules = TAKE(module, (int64_t)n * n);
    double *a = TAKE(double, (int64_t)n * n);
    double *column = TAKE(double, (int64_t)n * n);
    double *inside = TAKE(double, (int64_t)n * n);
    int *edges = TAKE(int, (int64_t)n * n);
    s.sequence = TAKE(int, (int64_t)n * n);
    s.list = TAKE(module, n);
    s.chains = TAKE(chain, 2 * n);
    s.slot = TAKE(int, n + 1);
    s.other = TAKE(int, 2 * n);
    int *size = TAKE(int, n);
    int *parent_slot = TAKE(int, n);
    int *fill = TAKE(int, n);
    int *order = TAKE(int, n);
    int *place = TAKE(int, n);
    int *cross = TAKE(int, n);
    double *cross_weight = TAKE(double, n);
    int *parent = TAKE(int, n);
    int *number = TAKE(int, n);
    double *nearest = TAKE(double, n);
    double *weight = TAKE(double, n);
    double *log_rows = TAKE(double, n);
    for (int v = 0; v < n; v++) { number[v] = -1; nearest[v] = INFINITY; }
    nearest[0] = -INFINITY;
    for (int step = 0; step < n; step++) {
        int u = 0;
        double least = INFINITY;
        for (int v = 0; v < n; v++) if (number[v] < 0 && nearest[v] < least) { least = nearest[v]; u = v; }
        number[u] = step;
        /* From here on, relations are numbered in this order: parents before children. */
        parent[step] = step ? number[order[u]] : -1;
        weight[step] = step ? least : 0;
        log_rows[step] = given_rows[u];
        for (int e = starts[u]; e < starts[u + 1]; e++)
            if (number[near[e]] < 0 && near_weight[e] < nearest[near[e]]) { nearest[near[e]] = near_weight[e]; order[near[e]] = u; }
    }
    for (int v = 0; v < n; v++) { size[v] = 1; fill[v] = 0; }
    for (int v = n - 1; v > 0; v--) { size[parent[v]] += size[v]; fill[v]++; fill[parent[v]]++; }
    s.slot[0] = 0;
    for (int v = 0; v < n; v++) { s.slot[v + 1] = s.slot[v] + fill[v]; fill[v] = s.slot[v]; }
    for (int v = 1, at = 0; v < n; v++) {
        int down = fill[parent[v]]++, up = fill[v]++;
        parent_slot[v] = down;
        s.other[down] = v; s.other[up] = parent[v];
        s.chains[down].start = at; at += size[v];
        s.chains[up].start = at; at += n - size[v];
    }
    order_relations(&s, parent, parent_slot, weight, log_rows, order);
    for (int i = 0; i < n; i++) place[order[i]] = i;
    for (int i = n - 1; i >= 0; i--) {
        double *row = a + (int64_t)i * n, total = 0, carried = 0;
        int running = 0;
        memset(cross, 0, sizeof(int) * n);
        memset(cross_weight, 0, sizeof(double) * n);
        for (int e = s.slot[order[i]]; e < s.slot[order[i] + 1]; e++) {
            int j = place[s.other[e]];
            if (j > i) { cross[j]++; cross_weight[j] += weight[order[i] > s.other[e] ? order[i] : s.other[e]]; }
        }
        for (int j = i; j < n; j++) {
            double *col = column + (int64_t)j * n;
            total += log_rows[order[j]];
            running += cross[j]; carried += cross_weight[j];
            inside[(int64_t)i * n + j] = carried + (i < n - 1 && j > i ? inside[(int64_t)(i + 1) * n + j] : 0);
            edges[(int64_t)i * n + j] = running + (j > i ? edges[(int64_t)(i + 1) * n + j] : 0);
            if (i == j) { row[j] = 0; col[i] = 0; continue; }
            /* In a forest a set is connected if it has one edge less than relations. */
            if (edges[(int64_t)i * n + j] != j - i) { row[j] = INFINITY; col[i] = INFINITY; continue; }
            double b0 = INFINITY, b1 = INFINITY, b2 = INFINITY, b3 = INFINITY, c;
            int k = i;
            for (; k + 3 < j; k += 4) {
                c = row[k] + col[k + 1]; b0 = c < b0 ? c : b0;
                c = row[k + 1] + col[k + 2]; b1 = c < b1 ? c : b1;
                c = row[k + 2] + col[k + 3]; b2 = c < b2 ? c : b2;
                c = row[k + 3] + col[k + 4]; b3 = c < b3 ? c : b3;
            }
            for (; k < j; k++) { c = row[k] + col[k + 1]; b0 = c < b0 ? c : b0; }
            b0 = b1 < b0 ? b1 : b0; b2 = b3 < b2 ? b3 : b2; b0 = b2 < b0 ? b2 : b0;
            b0 += power(total + inside[(int64_t)i * n + j]);
            row[j] = b0; col[i] = b0;
        }
    }
    /* The tree: intervals and their cuts, from the root. */
    int depth = 0, filled = 0, *stack = cross, *ends = fill;
    stack[depth] = 0; ends[depth++] = n - 1;
    while (depth) {
        int i = stack[--depth], j = ends[depth], chosen = -1;
        double best = INFINITY;
        for (int k = i; k < j; k++) {
            double c = a[(int64_t)i * n + k] + column[(int64_t)j * n + k + 1];
            if (c < best) { best = c; chosen = k; }
        }
        tree[filled++] = chosen;
        if (chosen < 0) continue;
        stack[depth] = i; ends[depth++] = chosen;
        stack[depth] = chosen + 1; ends[depth++] = j;
    }
    return a[n - 1];
}
