"""What emitted code and its callers agree on: names, statuses, and where things are in memory."""

#: The exported function.
ENTRY = "run"

#: Status of a call whose inputs are not all contiguous and aligned, and writable where they are donated.
UNUSABLE = 2

#: Status of a call that ended because Python has an error set: a signal's handler raised it.
INTERRUPTED = 4

#: The callbacks, words that the table points to: the function that calls Python for operations; the one that looks for
#: signals (see `runtime.native.signals`), or 0; the main thread, which handles them; the Python function that is called
#: for operations. Without Python there are none.
HOST, POLL, MAIN_THREAD, PYTHON = range(4)
POLL_SYMBOL, HOST_SYMBOL = "fdl_poll", "fdl_host"

#: Where NumPy's array object has the address of its elements, and its flags.
DATA_OFFSET, FLAGS_OFFSET = 16, 64
CONTIGUOUS_ALIGNED, WRITEABLE = 0x0001 | 0x0100, 0x0400

#: Pointers in the table before those of inputs and outputs; see `fdl.compile.codegen.emit`.
OBJECTS = 4

#: The exported functions of the pool of threads.
ENTER, STOP, WORKER = "fdl_pool_enter", "fdl_pool_stop", "fdl_pool_worker"

#: A mailbox: the job, the number of its thread; the mutex and the condition that it sleeps on are 64 bytes further each
#: (no system's are larger).
MAILBOX_BYTES = 256
NUMBER, MUTEX, CONDITION = 8, 64, 128
POOL_BYTES = MAILBOX_BYTES * 257

#: A job, which is the team of a call: what to call; how many have arrived at the barrier; how often it has opened; the
#: status of a host call that failed.
FUNCTION, TABLE, COUNT, BARRIER, ARRIVED, OPENED, STATUS, JOB_BYTES = 0, 8, 16, 24, 64, 128, 192, 256
