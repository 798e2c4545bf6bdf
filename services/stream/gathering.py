"""Gathering: tokens and loss masks of many ranges copied out of a memory map in one go.

A batch is thousands of tokens from rows all over a file. Compiled, the copy runs at the speed of
the memory with the interpreter's lock released, so that other streams are answered meanwhile; where
there is no compiler, Python does the same row by row.

A file is seen as one array of 32-bit words and one of bytes. Where the columns of a record batch
begin in them is a table with a line for each; rows of a record batch are numbered from 0.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...mixer.kernel import Kernel

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]


class Layout(NamedTuple):
    """Where the columns of the record batches begin; -1 before a batch was verified."""

    offsets: Int64s
    """Words before the offsets of the rows."""
    input_ids: Int64s
    """Words before the token ids."""
    loss_mask: Int64s
    """Bytes before the loss mask, eight tokens to a byte, lowest bit first."""
    num_supervised: Int64s
    """Words before the numbers of tokens that carry loss."""

    @classmethod
    def unknown(cls, num_chunks: int) -> Layout:
        """A table for so many record batches, none of which is verified."""
        return cls(*(np.full(num_chunks, -1, dtype=np.int64) for _ in cls._fields))


class Ranges(NamedTuple):
    """Tokens of rows: where they are in the file, and how many."""

    chunks: Int64s
    begins: Int64s
    """Number of the first token inside its record batch."""
    lengths: Int64s


def located(
    words: Int32s, layout: Layout, rows: Int64s, firsts: Int64s, ends: Int64s, *, chunk_rows: int
) -> Ranges:
    """The tokens from `firsts` to before `ends` of rows, or to the end of a row that is shorter.

    Args:
        words: the file.
        layout: its columns; the record batches of the rows have to be verified.
        rows: int64[n].
        firsts: int64[n], first token of each.
        ends: int64[n], the token after the last.
        chunk_rows: rows of a record batch.
    """
    chunks, local = np.divmod(rows, chunk_rows)
    places = layout.offsets[chunks] + local
    begins = words[places].astype(np.int64)
    stops = np.minimum(begins + ends, words[places + 1])
    return Ranges(chunks, begins + firsts, stops - begins - firsts)


def num_supervised(words: Int32s, layout: Layout, rows: Int64s, *, chunk_rows: int) -> Int64s:
    """Tokens of whole rows that carry loss."""
    chunks, local = np.divmod(rows, chunk_rows)
    return words[layout.num_supervised[chunks] + local].astype(np.int64)


def copy_tokens(
    words: Int32s, layout: Layout, ranges: Ranges, places: Int64s, out: npt.NDArray[Any]
) -> None:
    """Copies token ids; range number r goes to out[places[r]] and on."""
    begins = layout.input_ids[ranges.chunks] + ranges.begins
    work = int(ranges.lengths.sum())
    _COPY_WORDS.of_size(work)(words, begins, ranges.lengths, places, out)


def copy_masks(octets: Bytes, layout: Layout, ranges: Ranges, places: Int64s, out: Bytes) -> None:
    """Copies loss masks; range number r goes to bit places[r] of `out`, which is zero, and on.

    A range is a text of its own: its first token follows nothing and carries no loss.
    """
    begins = 8 * layout.loss_mask[ranges.chunks] + ranges.begins
    work = int(ranges.lengths.sum()) >> 3
    _COPY_BITS.of_size(work)(octets, begins, ranges.lengths, places, out)


def _copy_words(
    words: Int32s, begins: Int64s, lengths: Int64s, places: Int64s, out: npt.NDArray[Any]
) -> None:
    for number in range(len(begins)):
        begin, length, place = begins[number], lengths[number], places[number]
        source, target = words[begin : begin + length], out[place : place + length]
        # Element by element: assigned as a slice, it is copied at a fifth of the speed.
        for index in range(length):
            target[index] = source[index]


def _copy_bits(octets: Bytes, begins: Int64s, lengths: Int64s, places: Int64s, out: Bytes) -> None:
    """Bit ranges to bit ranges, a byte of the target at a time."""
    for number in range(len(begins)):
        # The first bit stays zero.
        source, target = begins[number] + 1, places[number] + 1
        end = places[number] + lengths[number]
        while target < end:
            within, shift = target & 7, source & 7
            first, place = source >> 3, target >> 3
            count = (end - target) >> 3
            if within == 0 and count > 0:
                # Whole bytes, in a loop without a branch: sixteen and more at once.
                if shift == 0:
                    for index in range(count):
                        out[place + index] = octets[first + index]
                else:
                    for index in range(count):
                        low = int(octets[first + index]) >> shift
                        high = int(octets[first + index + 1]) << (8 - shift)
                        out[place + index] = np.uint8((low | high) & 255)
                count *= 8
            else:
                count = min(8 - within, end - target)
                value = int(octets[first]) >> shift
                if shift + count > 8:
                    value |= int(octets[first + 1]) << (8 - shift)
                value &= (1 << count) - 1
                out[place] |= np.uint8((value << within) & 255)
            source += count
            target += count


_COPY_WORDS = Kernel(_copy_words)
_COPY_BITS = Kernel(_copy_bits)


def compile_kernels() -> None:
    """Compiles what a first batch would otherwise have to wait for."""
    words, octets = np.zeros(1, dtype=np.int32), np.zeros(1, dtype=np.uint8)
    numbers = np.zeros(1, dtype=np.int64)
    targets = words.copy(), words.astype(np.uint16)
    mask = octets.copy()
    # Files are mapped to be read only.
    for array in (words, octets):
        array.setflags(write=False)
    for ids in targets:
        _COPY_WORDS.compiled(words, numbers, numbers, numbers, ids)
    _COPY_BITS.compiled(octets, numbers, numbers, numbers, mask)
