"""Triton's interpreter, ten times as fast.

It calls the functions of scans and reductions once per number, looks through the whole language before every call of a
function, and copies all memory back onto itself. None of it is needed for what our kernels do.
"""

import numpy as np
from triton.runtime import interpreter


def make_quick() -> None:
    """Scan and reduce whole rows, patch the language once, copy nothing; an older interpreter stays as it is, slow."""
    if not hasattr(interpreter, "_LangPatchScope"):
        return

    def rows(self, arguments):
        return zip(*(np.moveaxis(argument.handle.data, self.axis, 0) for argument in arguments), strict=True)

    def scan(self, arguments):
        done = []
        for row in rows(self, arguments):
            done.append(self.combine_fn.fn(*done[-1], *row) if done else row)
        stacked = (np.ascontiguousarray(np.stack(column, self.axis)) for column in zip(*done, strict=True))
        return [self.to_tensor(column, argument.dtype) for column, argument in zip(stacked, arguments, strict=True)]

    def reduce(self, arguments):
        first, *others = rows(self, arguments)
        total = first
        for row in others:
            total = self.combine_fn.fn(*total, *row)
            total = total if isinstance(total, tuple) else (total,)
        if self.keep_dims:
            total = tuple(np.expand_dims(column, self.axis) for column in total)
        return [self.to_tensor(column, argument.dtype) for column, argument in zip(total, arguments, strict=True)]

    interpreter.ScanOps.generic_scan = scan
    interpreter.ReduceOps.generic_reduce = reduce
    whole, patched = interpreter._patch_lang, set()

    def once(function):
        if id(function.__globals__) in patched:
            return interpreter._LangPatchScope()
        patched.add(id(function.__globals__))
        return whole(function)

    interpreter._patch_lang = once
    interpreter._LangPatchScope.restore = lambda self: None
    interpreter.GridExecutor._restore_args_dev = lambda self, *arguments: None
