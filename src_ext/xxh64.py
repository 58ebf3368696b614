"""XXH64 (Collet): a fast 64-bit hash that is the same on every platform and in every form of this file."""

import sys

import cython

if cython.compiled:
    from cython.cimports.libc.string import memcpy

BIG_ENDIAN = cython.declare(cython.int, 1 if sys.byteorder == "big" else 0)


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _load(data: cython.p_uchar, at: cython.Py_ssize_t, count: cython.int) -> cython.ulonglong:
    """Little-endian integer of ``count`` bytes."""
    value: cython.ulonglong = 0
    byte: cython.ulonglong
    i: cython.int
    if not cython.compiled:
        return int.from_bytes(data[at : at + count], "little")
    for i in range(count - 1, -1, -1):
        byte = data[at + i]
        value = (value << 8) | byte
    return value


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _load8(data: cython.p_uchar, at: cython.Py_ssize_t) -> cython.ulonglong:
    """Little-endian integer of eight bytes."""
    value: cython.ulonglong = 0
    if not cython.compiled:
        return int.from_bytes(data[at : at + 8], "little")
    if BIG_ENDIAN:
        return _load(data, at, 8)
    memcpy(cython.address(value), data + at, 8)
    return value


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(check=False)
def _round(lane: cython.ulonglong, word: cython.ulonglong) -> cython.ulonglong:
    mask: cython.ulonglong = 0xFFFFFFFFFFFFFFFF
    p1: cython.ulonglong = 0x9E3779B185EBCA87
    p2: cython.ulonglong = 0xC2B2AE3D27D4EB4F
    lane = (lane + word * p2) & mask
    lane = ((lane << 31) | (lane >> 33)) & mask
    return (lane * p1) & mask


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def xxh64(data: cython.p_uchar, size: cython.Py_ssize_t, seed: cython.ulonglong) -> cython.ulonglong:
    """XXH64 of ``size`` bytes."""
    mask: cython.ulonglong = 0xFFFFFFFFFFFFFFFF
    p1: cython.ulonglong = 0x9E3779B185EBCA87
    p2: cython.ulonglong = 0xC2B2AE3D27D4EB4F
    p3: cython.ulonglong = 0x165667B19E3779F9
    p4: cython.ulonglong = 0x85EBCA77C2B2AE63
    p5: cython.ulonglong = 0x27D4EB2F165667C5
    zero: cython.ulonglong = 0
    length: cython.ulonglong = size
    at: cython.Py_ssize_t = 0
    h: cython.ulonglong
    a: cython.ulonglong
    b: cython.ulonglong
    c: cython.ulonglong
    d: cython.ulonglong
    if size >= 32:
        a = (seed + p1 + p2) & mask
        b = (seed + p2) & mask
        c = seed
        d = (seed - p1) & mask
        while at + 32 <= size:
            a = _round(a, _load8(data, at))
            b = _round(b, _load8(data, at + 8))
            c = _round(c, _load8(data, at + 16))
            d = _round(d, _load8(data, at + 24))
            at += 32
        h = ((a << 1) | (a >> 63)) & mask
        h = (h + ((b << 7) | (b >> 57))) & mask
        h = (h + ((c << 12) | (c >> 52))) & mask
        h = (h + ((d << 18) | (d >> 46))) & mask
        h = ((h ^ _round(zero, a)) * p1 + p4) & mask
        h = ((h ^ _round(zero, b)) * p1 + p4) & mask
        h = ((h ^ _round(zero, c)) * p1 + p4) & mask
        h = ((h ^ _round(zero, d)) * p1 + p4) & mask
    else:
        h = (seed + p5) & mask
    h = (h + length) & mask
    while at + 8 <= size:
        h = h ^ _round(zero, _load8(data, at))
        h = (((h << 27) | (h >> 37)) & mask) * p1 + p4
        h = h & mask
        at += 8
    if at + 4 <= size:
        h = h ^ ((_load(data, at, 4) * p1) & mask)
        h = (((h << 23) | (h >> 41)) & mask) * p2 + p3
        h = h & mask
        at += 4
    while at < size:
        h = h ^ ((_load(data, at, 1) * p5) & mask)
        h = (((h << 11) | (h >> 53)) & mask) * p1
        h = h & mask
        at += 1
    h = h ^ (h >> 33)
    h = (h * p2) & mask
    h = h ^ (h >> 29)
    h = (h * p3) & mask
    return h ^ (h >> 32)
