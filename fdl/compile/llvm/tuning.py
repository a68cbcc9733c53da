"""Tuning: the sizes and thresholds by which the compiler chooses among programs that all give the right results.

Some decide in which order numbers are added up, so that another tuning may change last digits. They were chosen on
processors with 32 to 48 KiB of first-level and 1 to 2 MiB of second-level cache; what matters is their magnitude.
"""

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class Tuning:
    """What the compiler knows of a processor besides its instructions, each with its unit and its reason."""

    # Passes over Programs

    #: Bytes of a result that is computed while compiling: larger ones take longer to load than to compute.
    folded_bytes: int = 1024
    #: Operations in a row through which a transpose is moved: the search is repeated for every operand.
    transpose_depth: int = 8
    #: Bytes of a stack over all steps of a loop that are always allowed for work moved out of it.
    stack_bytes: int = 1 << 24
    #: Rows of a product whose matrix is packed before the loop: with fewer it is read where it is, with more packing is
    #: little beside the product.
    prepacked_rows: tuple[int, int] = (4, 128)
    #: Bytes of such a matrix at least: smaller ones stay in the first-level cache.
    prepacked_bytes: int = 1 << 14
    #: Steps of such a loop at least: fewer may as well pack in every step.
    prepacked_steps: int = 4

    # Fusion

    #: Equations and stored operands of a nest that takes no new ones: registers are few.
    fused_equations: int = 64
    fused_operands: int = 32
    #: Nests that read a value and are looked at for another reader of it to join: time of the search.
    fusion_window: int = 8
    #: Operations in a row that are computed where the last one is read: index functions grow.
    inlined_depth: int = 40
    #: Bytes of a result of one cheap operation that is rather computed again than stored: more than caches keep.
    recomputed_bytes: int = 1 << 20
    #: Elements of a result that is computed as soon as it can be, so that nothing has to wait for it.
    early_elements: int = 16

    # Tile-and-fuse over rows

    #: Steps after the first one that are looked at for members of its group: time of the search.
    group_window: int = 48
    #: Bytes that a tile works in: the first-level cache, or with products, which use the second level anyway and like
    #: large matrices (their other operand is packed for every tile), the second.
    tile_bytes: int = 40 * 1024
    product_tile_bytes: int = 768 * 1024
    #: Rows of a tile at least, if there are that many: of vectors along the rows, of products, and of sums over rows.
    tile_rows: int = 8
    product_tile_rows: int = 96
    summed_tile_rows: int = 4
    #: Bytes that a single row may work in: the second-level cache.
    row_bytes: int = 1024 * 1024
    #: Bytes of a row from which on there have to be `large_rows` rows for the threads to share.
    large_row_bytes: int = 32 * 1024
    large_rows: int = 8
    #: Bytes of traffic to memory that a group has to save: less than its calls cost.
    group_gain_bytes: int = 8 * 1024
    #: Bytes of a value from outside that is read together rather than twice.
    shared_bytes: int = 2 * 1024
    #: Chunks of rows whose sums are added up in the end: enough for as many threads.
    row_chunks: int = 16
    #: Units of products that add up over tiles of rows, which run one after the other in a unit.
    summed_units: int = 4
    #: Operations of a product of one unit at least: a kernel that knows all units does smaller ones.
    tile_product_flops: int = 16384

    # Joined rows

    #: Elements that joined rows are a multiple of: two vectors of float32 at 256 bits.
    joined_elements: int = 16
    #: Elements of a row that is too narrow for vectors to run well.
    narrow_elements: int = 32
    #: Iterations of a nest that is worth more nests.
    joined_iterations: int = 1 << 14

    # Sums in two steps

    #: Iterations times instructions of a nest whose sums are split: enough for threads to share.
    split_work: int = 1 << 19
    #: Results of such a nest at most: loops over more of them are shared themselves.
    split_results: int = 512
    #: Chunks, the best first, for lengths that they divide evenly.
    split_chunks: tuple[int, ...] = (
        32, 16, 24, 28, 20, 30, 25, 27, 21, 18, 22, 26, 36, 40, 48, 64, 8, 10, 12, 14, 15, 9, 11, 13, 7, 5, 6, 4,
    )  # fmt: skip
    #: The same for convolutions, over their input channels: chunks, results at most, operations at least, and units of
    #: work that their kernel has itself.
    convolution_chunks: tuple[int, ...] = (16, 8, 12, 10, 20, 14)
    convolution_results: int = 4096
    convolution_flops: int = 4_000_000
    convolution_units: int = 8

    # Loop nests

    #: Instructions of a body that is repeated for smaller and smaller vectors at the end of a row; larger ones run
    #: element by element there, since code grows.
    small_body: int = 24
    #: Instructions of a body of which four vectors are worked on at once, else two: registers are few.
    unrolled_body: int = 12
    #: Machine instructions of a body, about, of which two vectors are worked on at once, so that neither waits.
    chained_work: int = 12
    #: Instructions of such a body at most of which four vectors are worked on, where a register has 512 bits: longer
    #: ones keep more numbers in registers.
    chained_body: int = 8
    #: Iterations of a tile along each of two loops that cross: cache lines of one tile stay in the first level.
    crossing_tile: int = 32
    #: Lanes of a square of them that is transposed in registers, and its instructions times its lanes, at most.
    turned_lanes: int = 16
    turned_body: int = 128
    #: Largest step of elements that are picked from whole vectors; the second where a register has 512 bits.
    picked_steps: tuple[int, int] = (4, 16)
    #: Units of work of a loop that is divided among threads rather than one inside it.
    divided_units: int = 16
    #: Vectors of results of a nest of few instructions that stay in registers together.
    resident_vectors: int = 8
    resident_body: int = 6
    #: Vectors of a row whose sums stay in registers; those of longer rows are kept in the result.
    resident_row: int = 8

    # Products: K. Goto and R. van de Geijn, "Anatomy of High-Performance Matrix Multiplication", 2008

    #: Vector registers that accumulators leave free: one row of the right operand and one element of the left.
    free_registers: int = 2
    #: Bytes of a tile of the right operand, which stays in the first-level cache (the second where a register has 512
    #: bits, since tiles are wider and sums should not be short); of a block of the left one, in the second level; and
    #: of a block of packed tiles of the right one, of which one is used after the other.
    panel_bytes: tuple[int, int] = (16 * 1024, 32 * 1024)
    left_bytes: int = 128 * 1024
    right_bytes: int = 1024 * 1024
    #: Bytes of the result that an epilogue is applied to at once.
    epilogue_bytes: int = 128 * 1024
    #: Steps of a sum that is so short that storing the result takes as long: it is then stored row by row.
    short_sum: int = 32
    #: Bytes between rows of the left operand that fall on the same lines of the first-level cache.
    alias_bytes: int = 4096
    #: The longest sum of 16-bit floats: tiles of that many rows stay in the second level.
    half_depth: int = 4096
    #: Elements of the result of a product of few rows that stay in the first-level cache.
    stream_elements: int = 2048
    #: Rows of an operand that are packed together: more streams than the processor follows are not read ahead.
    packed_rows: int = 8
    #: Rows ahead of the one in use that are asked for where the right operand is not packed.
    right_rows_ahead: int = 16

    #: How bfloat16 are multiplied: in float32 "panels", by "pairs" or by "blocks", where the processor lacks the
    #: instruction by an emulation, which is slower; int8 are by "blocks" too, else by pairs. Empty is what is fastest.
    low_products: str = ""
    #: Pairs of bfloat16 that a gradient by the weights of a convolution sums before it adds to the result.
    summed_words: int = 512

    # Convolutions and windows

    #: Bytes of the image that a unit of work reads (they stay in the second-level cache), and units at least.
    pixel_bytes: int = 192 * 1024
    pixel_units: int = 16
    #: The same bytes where groups are small, in the first-level cache between copy and use; positions that share the
    #: load of a weight; taps that are unrolled; and sums that are in registers at once, where one has 512 bits more.
    depthwise_bytes: int = 24 * 1024
    depthwise_rows: int = 4
    depthwise_taps: int = 9
    #: Share of the outputs whose taps are all inside the image from which on it is not copied with its padding.
    depthwise_whole: float = 0.8
    depthwise_sums: tuple[int, int] = (10, 27)
    #: Convolutions by 3x3 windows with fewer multiplications (Winograd's): input channels at least, with fewer the
    #: transforms take as long as what they save, and their error is much beside that of direct sums; multiplications at
    #: most as a share of those of direct sums; tiles of an image at least, so that transforming the weights pays for a
    #: single one; and channels that are summed at once.
    winograd_channels: int = 64
    winograd_share: float = 0.45
    winograd_tiles: int = 16
    winograd_depth: int = 32
    #: Output channels that are so few that lanes run along the input channels.
    dotted_features: int = 4
    #: Rows used together when weights are differentiated: they stay in the first-level cache.
    band_rows: int = 256
    #: Bytes between two positions from which on the image is copied: they would share lines of the cache.
    far_bytes: int = 128
    #: Taps of the largest window of a reduction that is unrolled.
    unrolled_taps: int = 9

    # Moves, sparse rows, sorts

    #: Bytes that a thread copies at least: a page.
    copied_bytes: int = 4096
    #: Places before they are needed at which windows and rows are asked for, and how much of each, in cache lines and
    #: bytes: loads of one element at a time leave the memory idle.
    windows_ahead: int = 6
    window_lines: int = 32
    #: Bytes of an array that stays in the cache of a core, so that nothing of it has to be asked for.
    cached_table: int = 1 << 17
    rows_ahead: int = 4
    row_fetched_bytes: int = 1024
    #: Places that are written are divided among threads by their number modulo this power of two, since neighbours are
    #: often named equally often.
    place_classes: int = 64
    #: Vectors of a row that run through missed steps together, so that their divisions overlap.
    row_vectors: int = 2
    #: Records that are sorted by wide digits, which take fewer passes but more counters.
    long_sort: int = 1 << 14
    #: Candidates for the largest elements that there is room for besides them, at least.
    candidates: int = 32

    # Factorizations

    #: Rows and columns of a matrix that is factored by plain loops in float64, and elements of it and its right-hand
    #: sides: filling panels takes longer than the loops do below.
    small_matrix: int = 32
    small_system: int = 8192
    #: Rows and columns of a matrix that is decomposed in groups: beyond, LAPACK's blocks are ahead, and a group leaves
    #: the second-level cache.
    grouped_matrix: int = 64
    #: The same for singular values: of stacks, of a single matrix, and of one whose vectors are not wanted.
    grouped_svd: tuple[int, int, int] = (32, 16, 12)
    #: Rows or columns of a single matrix that LAPACK may divide among threads of its own.
    threaded_matrix: int = 256
    #: The same where this compiler's own factorizations, which one thread computes, are the alternative.
    threaded_factors: int = 512

    # Threads

    #: Microseconds of a step that threads divide, and of all of a program: handing data to another core takes a while.
    step_time: float = 10.0
    program_time: float = 60.0
    #: Operations of matrix kernels, instructions of other loops (vectors), and bytes that a core does in a microsecond.
    flop_rate: float = 90_000.0
    instruction_rate: float = 6_000.0
    byte_rate: float = 30_000.0
    #: Floating-point operations that take as long as sorting an element.
    sort_flops: int = 1500
    #: Multiplications of a stack of matrix products that is small: how its tiles divide it does not matter.
    small_product: int = 1 << 17
    #: Microseconds of a program that is small: it is compiled with less effort if the user asks for that.
    small_program: float = 100.0
    #: Microseconds, about, between two looks for signals in a loop: one takes a few, or has to wait for Python's lock.
    signal_time: float = 30_000.0
    #: Iterations of a loop whose number is not known.
    unknown_iterations: int = 10
    #: Steps, or operands of all steps, of a plan that is data rather than code: LLVM's time grows faster than it.
    tape_steps: int = 64
    tape_operands: int = 512
    #: Inputs that are checked one by one; more are checked in a loop.
    checked_inputs: int = 16

    #: Looks before a waiting thread gives way, times that it gives way before it sleeps, and microseconds of sleep: the
    #: threads of a call usually arrive within microseconds of each other.
    spins: int = 300
    yields: int = 2000
    nap: int = 100
