from godb_fast._kernels.lexer cimport Fingerprint, Lexer
from godb_fast._kernels.skeletons cimport Skeletons

cdef extern from "Python.h":
    int PyObject_GenericSetAttr(object thing, object name, object value) except -1
    bint PyUnicode_IS_ASCII(object text)
    void* PyUnicode_DATA(object text)
    object PyUnicode_New(Py_ssize_t size, Py_UCS4 highest)


cdef class Planned:
    cdef readonly object bucket, outcome, plan, served, text
    cdef readonly Fingerprint found
    cdef readonly long long chosen
    cdef object routes
    cdef Route route
    cdef object values
    cdef long long begun, read, estimated, searched


cdef class Route:
    cdef object owner, lend, bind, rule
    cdef long long slots
    cdef list pool
    cdef dict own
    cdef Planned _begun(self, Fingerprint found, long long begun)
    cdef Planned _plan(self, Fingerprint found, long long begun)


cdef class Words:
    cdef tuple pieces
    cdef bint plain
    cdef bytes raw, steps
    cdef unsigned char* raw_at
    cdef int* steps_at
    cdef Py_ssize_t count
    cdef str _filled(self, Fingerprint found)


cdef class Proved:
    cdef object owner
    cdef Route route
    cdef list entries
    cdef Planned _find(self, str sql, Fingerprint found, long long begun)


cdef class Kept:
    cdef readonly object decision
    cdef object owner
    cdef Planned planned


cdef class Routes:
    cdef readonly long long decided
    cdef Lexer lexer
    cdef Skeletons skeletons
    cdef object decision, prepared, steering, make
    cdef dict templates, exact
    cdef long long most
    cdef object _find(self, object sql)
    cdef Kept _made(self, object sql, object owner, Planned planned)
