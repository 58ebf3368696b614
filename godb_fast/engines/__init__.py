"""Engines that we steer: one folder or file each, all behind the protocol of ``base``.

To add one: a class that fulfils :class:`godb_fast.engines.base.Engine`, an entry point in the group
``godb_fast.engines``, and a subclass of the contract test in ``godb_fast.testing``.
"""
