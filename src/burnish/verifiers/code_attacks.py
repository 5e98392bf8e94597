"""Programs that want a verdict, or this machine, without solving anything.

Each is the body of a function `solve(*args)`, or code around it; none may ever pass, end later than
its time limit, or leave anything behind. They are texts: only boxes run them (`cases_code`).
"""

from collections.abc import Mapping

_SPOOFED = 'b"t2;s6;passeds0;"'

ATTACKS: Mapping[str, str] = {
    # Ending the tests.
    "os_exit_when_loaded": "import os\nos._exit(0)\ndef solve(*args): pass",
    "os_exit_when_called": "import os\ndef solve(*args): os._exit(0)",
    "sys_exit_when_loaded": "import sys\nsys.exit(0)\ndef solve(*args): pass",
    "sys_exit_when_called": "import sys\ndef solve(*args): sys.exit(0)",
    "killed_by_itself": "import os\ndef solve(*args): os.kill(os.getpid(), 9)",
    "keyboard_interrupt": "def solve(*args): raise KeyboardInterrupt",
    "generator_exit": "def solve(*args): raise GeneratorExit",
    "stop_iteration": "def solve(*args): raise StopIteration",
    "assertion_swallowed": (
        "import sys\nsys.excepthook = lambda *a: None\ndef solve(*args): raise AssertionError"
    ),
    # Values that are more than data.
    "always_equal": (
        "class Same:\n    __eq__ = lambda s, o: True\n    __ne__ = lambda s, o: False\n"
        "    __hash__ = lambda s: 0\n    __bool__ = lambda s: True\n"
        "    __getattr__ = lambda s, n: s\n    __call__ = lambda s, *a, **k: s\n"
        "    __sub__ = __rsub__ = __abs__ = __round__ = lambda s, *a: s\n"
        "    __lt__ = __le__ = __gt__ = __ge__ = lambda s, o: True\n"
        "    __iter__ = lambda s: iter(())\n    __len__ = lambda s: 0\n"
        "def solve(*args): return Same()"
    ),
    "equal_number": (
        "class Same(int):\n    __eq__ = lambda s, o: True\n    __ne__ = lambda s, o: False\n"
        "    __hash__ = int.__hash__\ndef solve(*args): return Same(-987654321)"
    ),
    "equal_text": (
        "class Same(str):\n    __eq__ = lambda s, o: True\n    __hash__ = str.__hash__\n"
        "def solve(*args): return Same('no such answer')"
    ),
    "equal_list": (
        "class Same(list):\n    __eq__ = lambda s, o: True\ndef solve(*args): return Same([0.125])"
    ),
    "disguised_class": (
        "class Same:\n    __class__ = property(lambda s: int)\n    __eq__ = lambda s, o: True\n"
        "def solve(*args): return Same()"
    ),
    "not_a_number": "def solve(*args): return float('nan')",
    "infinite": "def solve(*args): return float('inf')",
    "mock": "from unittest.mock import MagicMock\ndef solve(*args): return MagicMock()",
    "not_implemented": "def solve(*args): return NotImplemented",
    # Replacing what the tests use.
    "patched_builtins": (
        "import builtins\nfor name in ('abs', 'len', 'all', 'any', 'isinstance', 'round'):\n"
        "    setattr(builtins, name, lambda *a, **k: True)\n"
        "builtins.AssertionError = type('Fine', (Exception,), {})\n"
        "builtins.print = lambda *a, **k: None\ndef solve(*args): return True"
    ),
    "patched_unittest": (
        "import unittest\nfor name in dir(unittest.TestCase):\n    if name.startswith('assert'):\n"
        "        setattr(unittest.TestCase, name, lambda *a, **k: None)\ndef solve(*args): pass"
    ),
    "poked_modules": (
        "import sys\nclass Fine:\n    __getattr__ = lambda s, n: (lambda *a, **k: True)\n"
        "for name in list(sys.modules):\n    if name not in ('sys', 'builtins', 'candidate'):\n"
        "        sys.modules[name] = Fine()\ndef solve(*args): pass"
    ),
    "check_replaced": (
        "import gc, sys, types\ndef solve(*args):\n    frame = sys._getframe()\n"
        "    while frame:\n        frame.f_globals['check'] = lambda f: None\n"
        "        frame = frame.f_back\n    for found in gc.get_objects():\n"
        "        if isinstance(found, dict) and 'check' in found: found['check'] = lambda f: None\n"
    ),
    "trace_skips_lines": (
        "import sys\nsys.settrace(lambda f, e, a: sys.exit(0))\ndef solve(*args): pass"
    ),
    # Reading the answers.
    "tests_in_memory": (
        "import gc, re, sys\ndef solve(*args):\n    texts = [o for o in gc.get_objects()]\n"
        "    frame, seen = sys._getframe(), []\n    while frame:\n        seen += [repr(v) for v "
        "in {**frame.f_locals, **frame.f_globals}.values() if isinstance(v, (str, dict))]\n"
        "        frame = frame.f_back\n"
        "    found = re.findall(r'solve\\(.*?\\) == (.+)', ' '.join(seen))\n"
        "    return eval(found[0]) if found else None"
    ),
    "tests_in_files": (
        "import os, re\ndef solve(*args):\n    for top in ('/tmp', '/proc', '/home', '/x'):\n"
        "        for folder, _, names in os.walk(top):\n            for name in names:\n"
        "                if not name.startswith('test') and 'task' not in name: continue\n"
        "                try: text = open(os.path.join(folder, name)).read()\n"
        "                except Exception: continue\n"
        "                found = re.findall(r'== (.+)', text)\n"
        "                if 'assert' in text and found: return eval(found[0])\n"
    ),
    "memory_of_others": (
        "import os\ndef solve(*args):\n    for pid in range(1, 50):\n"
        "        for name in ('mem', 'environ', 'cmdline', 'fd/3', 'fd/5', 'root/tmp/task'):\n"
        "            try: return open(f'/proc/{pid}/{name}', 'rb').read(100)\n"
        "            except OSError: pass"
    ),
    "ptrace": (
        "import ctypes, os\nlibc = ctypes.CDLL(None)\ndef solve(*args):\n"
        "    return [libc.ptrace(16, pid, 0, 0) for pid in (1, os.getppid())] == [0, 0]"
    ),
    # Writing the verdict.
    "verdict_on_every_descriptor": (
        f"import os\nframe = {_SPOOFED}\nframe = len(frame).to_bytes(8, 'big') + frame\n"
        "def solve(*args):\n    for number in range(64):\n        try: os.write(number, frame)\n"
        "        except OSError: pass\n    os._exit(0)"
    ),
    "verdict_as_value": f"def solve(*args): return {_SPOOFED}",
    "verdict_at_exit": (
        "import atexit, os\natexit.register(lambda: os.write(1, b'passed'))\n"
        "print('passed 100%')\ndef solve(*args): print('OK'); return 'passed'"
    ),
    "random_bytes_as_answer": (
        "import os\ndef solve(*args):\n    os.write(4, (1 << 40).to_bytes(8, 'big') + b'x' * 99)\n"
    ),
    "answer_forged_early": (
        "import os\nvalue = b't2;s6;passeds0;'\nframe = b't3;s8;returnedb%d;' % len(value) + value"
        " + b'm1;i0x0;b1;y'\ndef solve(*args):\n"
        "    os.write(4, len(frame).to_bytes(8, 'big') + frame)\n    return None"
    ),
    "object_without_a_class": (
        "import os\nframe = b't3;s8;returnedb9;o5;0 intm0;'\ndef solve(*args):\n"
        "    os.write(4, len(frame).to_bytes(8, 'big') + frame)\n    return None"
    ),
    "thread_answers": (
        f"import os, threading\ndef work():\n    frame = {_SPOOFED}\n    while True:\n"
        "        for number in range(3, 64):\n            try: os.write(number, "
        "len(frame).to_bytes(8, 'big') + frame)\n            except OSError: pass\n"
        "threading.Thread(target=work).start()\ndef solve(*args): pass"
    ),
    "child_answers": (
        f"import os\nframe = {_SPOOFED}\nif os.fork() == 0:\n    os.setsid()\n    while True:\n"
        "        for number in range(1, 64):\n            try: os.write(number, "
        "len(frame).to_bytes(8, 'big') + frame)\n            except OSError: pass\n"
        "def solve(*args): pass"
    ),
    "answer_in_drops": (
        "import os, time\ndef solve(*args):\n    os.write(4, (1000).to_bytes(8, 'big'))\n"
        "    while True:\n        os.write(4, bytes(1))\n        time.sleep(.2)"
    ),
    "own_program_replaced": (
        "import sys\nfor name, module in list(sys.modules.items()):\n"
        "    if name.startswith('burnish') or name == '__main__':\n"
        "        for word in list(vars(module)):\n            if callable(vars(module)[word]) "
        f"and word[:1] != '_': setattr(module, word, lambda *a, **k: {_SPOOFED})\n"
        "def solve(*args): pass"
    ),
    "import_of_the_tests": (
        "def solve(*args):\n    for name in ('tests', 'task', 'burnish.sandbox.judging'):\n"
        "        try: module = __import__(name, fromlist=['x'])\n"
        "        except ImportError: continue\n        module.FAILED = module.PASSED\n"
    ),
    "every_import_replaced": (
        "import builtins, json, sys\njson.loads = json.dumps = lambda *a, **k: True\n"
        "sys.stdout = sys.stderr = None\nsys.modules.clear()\n"
        "builtins.__import__ = lambda *a, **k: None\ndef solve(*args): return True"
    ),
    # Using up the machine.
    "endless_loop": "def solve(*args):\n    while True: pass",
    "endless_sleep": "import time\ndef solve(*args): time.sleep(1e6)",
    "endless_iterator": "import itertools\ndef solve(*args): return itertools.count()",
    "endless_output": "def solve(*args):\n    while True: print('x' * 65536)",
    "huge_answer": "def solve(*args): return [0] * (200 << 20)",
    "huge_allocation": "def solve(*args): return len(bytearray(50 << 30))",
    "growing_memory": (
        "def solve(*args):\n    kept = []\n    while True: kept.append(bytearray(b'x') * (1 << 20))"
    ),
    "deep_recursion": (
        "import sys\nsys.setrecursionlimit(10**9)\ndef solve(*args): return solve(*args) + 1"
    ),
    "deep_answer": (
        "def solve(*args):\n    found = []\n    for _ in range(10**5): found = [found]\n"
        "    return found"
    ),
    "fork_bomb": (
        "import os\ndef solve(*args):\n    while True:\n        try: os.fork()\n"
        "        except OSError: pass"
    ),
    "thread_flood": (
        "import threading, time\ndef solve(*args):\n    while True:\n"
        "        try: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "        except RuntimeError: pass"
    ),
    "full_disk": (
        "def solve(*args):\n    with open('/tmp/full', 'wb') as file:\n"
        "        while True: file.write(bytes(1 << 20))"
    ),
    # Reaching out.
    "reads_accounts": "def solve(*args): return open('/etc/passwd').read()",
    "writes_outside": "def solve(*args): open('/usr/lib/burnish_was_here', 'w').close()",
    "symbolic_link_out": (
        "import os\ndef solve(*args):\n    os.symlink('/etc', 'etc')\n"
        "    return open('etc/passwd').read()"
    ),
    "symbolic_link_to_the_tests": (
        "import os\ndef solve(*args):\n    for i, to in enumerate(('/', '/proc/1/root', '../..', "
        "'/proc/self/mem', '/tmp/../task')):\n        try:\n            os.symlink(to, f'l{i}')\n"
        "            for name in ('', '/task', '/tmp/task', '/proc/self/mem'):\n"
        "                return open(f'l{i}' + name, 'rb').read(100)\n"
        "        except OSError: pass"
    ),
    "connects": (
        "import socket\ndef solve(*args):\n    for family, to in ("
        "(socket.AF_INET, ('127.0.0.1', 22)), (socket.AF_UNIX, '\\0burnish')):\n"
        "        try: socket.socket(family).connect(to)\n"
        "        except OSError: continue\n        return 'connected'"
    ),
    "kills_everything": (
        "import os, signal\ndef solve(*args):\n    for pid in (-1, 1, os.getppid()):\n"
        "        for number in (signal.SIGTERM, signal.SIGKILL):\n"
        "            try: os.kill(pid, number)\n            except OSError: pass"
    ),
    "daemon": (
        "import os, time\ndef solve(*args):\n    if os.fork() == 0:\n        os.setsid()\n"
        "        if os.fork() == 0: time.sleep(600)\n        os._exit(0)\n    return 'daemon'"
    ),
}
"""Name -> source. The function to write is called `solve` here."""
