# SPDX-License-Identifier: MIT
"""hv/run/decode.c against binutils: lengths, meaning and memory operands of systematic and random code in three modes.

Each candidate stands at the start of 32 bytes, the rest of which are NOPs, so that the disassembly is in step again
where the next one begins. What objdump calls bad is not compared: it never executes, so it never exits.
"""
import random
import re
import subprocess

import pytest
from support import BUILD, ROOT

BINARY = BUILD / "unit/test_decode"
MODES = {"i8086": 2, "i386": 4, "i386:x86-64": 8}
STRIDE, LONGEST = 32, 15
EINVAL, ENOTSUP = -22, -95

# Words that objdump prints before a mnemonic, or alone when a prefix does not belong to what follows.
PREFIXES = re.compile(
    r"^(?:lock|rep|repz|repnz|data16|data32|addr16|addr32|[cdefgs]s|rex[.WRXB]*|bnd|xacquire|xrelease|notrack)(?: |$)")

# Mnemonics of each operation that lintel gives a meaning, as objdump -M intel writes them.
MNEMONICS = {
    "OP_MOV": "mov movabs movnti", "OP_MOVZX": "movzx", "OP_MOVSX": "movsx movsxd", "OP_ADD": "add",
    "OP_OR": "or", "OP_ADC": "adc", "OP_SBB": "sbb", "OP_AND": "and", "OP_SUB": "sub", "OP_XOR": "xor",
    "OP_CMP": "cmp", "OP_TEST": "test", "OP_XCHG": "xchg", "OP_CMPXCHG": "cmpxchg", "OP_XADD": "xadd",
    "OP_INC": "inc", "OP_DEC": "dec", "OP_NOT": "not", "OP_NEG": "neg", "OP_BT": "bt", "OP_BTS": "bts",
    "OP_BTR": "btr", "OP_BTC": "btc", "OP_MOVS": "movs", "OP_STOS": "stos", "OP_LODS": "lods", "OP_SCAS": "scas",
    "OP_CMPS": "cmps", "OP_INS": "ins", "OP_OUTS": "outs", "OP_MOV_FROM_CR": "mov", "OP_MOV_TO_CR": "mov",
    "OP_CLTS": "clts", "OP_LMSW": "lmsw", "OP_SMSW": "smsw", "OP_CPUID": "cpuid", "OP_RDMSR": "rdmsr",
    "OP_WRMSR": "wrmsr", "OP_VMCALL": "vmcall", "OP_VMMCALL": "vmmcall vmgexit", "OP_HLT": "hlt", "OP_PAUSE": "pause",
    "OP_XSETBV": "xsetbv", "OP_WBINVD": "wbinvd wbnoinvd", "OP_INVD": "invd", "OP_RDTSC": "rdtsc",
    "OP_RDTSCP": "rdtscp", "OP_RDPMC": "rdpmc", "OP_MONITOR": "monitor", "OP_MWAIT": "mwait",
    "OP_MONITORX": "monitorx", "OP_MWAITX": "mwaitx", "OP_IRET": "iret iretd iretw iretq",
    "OP_SVM": "vmrun vmload vmsave stgi clgi skinit invlpga", "OP_IN": "in", "OP_OUT": "out",
}
SIZES = {"BYTE": 1, "WORD": 2, "DWORD": 4, "QWORD": 8}


def operations():
    """The enumerators of decode.h by number."""
    text = re.sub(r"/\*.*?\*/", "", (ROOT / "hv/run/decode.h").read_text(), flags=re.S)
    body = re.search(r"enum operation \{(.*?)\}", text, re.S).group(1)
    return [name.strip() for name in body.split(",") if name.strip()]


def candidates(mode, rng):
    """Every opcode of the four maps with many ModRM bytes, then the same under random prefixes."""
    def tail():
        return bytes(rng.choice((rng.randrange(256), 0, 0x7f)) for _ in range(LONGEST))

    prefixes = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]
    rex = list(range(0x40, 0x50)) if mode == 8 else []
    result = []
    for opcode in range(256):
        for lead, count in ((b"", 24), (b"\x0f", 16), (b"\x0f\x38", 2), (b"\x0f\x3a", 2)):
            for n in range(count):
                modrm = (n % 4) << 6 | rng.randrange(64)
                before = bytes(rng.choice(prefixes) for _ in range(rng.choice((0, 0, 1, 1, 2, 3)) if n >= 4 else 0))
                before += bytes(rng.choice(rex) for _ in range(rex != [] and rng.random() < 0.4))
                result.append((before + lead + bytes((opcode, modrm)) + tail())[:LONGEST])
    for modrm in range(256):
        for opcode in (0x80, 0x81, 0x83, 0x8f, 0xc6, 0xc7, 0xf6, 0xf7, 0xfe, 0xff):
            result.append((bytes((opcode, modrm)) + tail())[:LONGEST])
        for opcode in (0x00, 0x01, 0xae, 0xba, 0xc7, 0x20, 0x22, 0xb6, 0xbf):
            result.append((bytes((0x0f, opcode, modrm)) + tail())[:LONGEST])
    result += [bytes(rng.randrange(256) for _ in range(LONGEST)) for _ in range(3000)]
    return result


def disassemble(machine, codes, folder):
    """(length, text) of the first instruction of each candidate."""
    path = folder / "code.bin"
    path.write_bytes(b"".join(code.ljust(STRIDE, b"\x90") for code in codes))
    listing = subprocess.run(
        ["objdump", "-D", "-z", "-w", "--no-show-raw-insn", "-b", "binary", "-m", machine, "-M", "intel", path],
        check=True, capture_output=True, text=True).stdout
    rows = re.findall(r"^ *([0-9a-f]+):\t(.*?) *$", listing, re.M)
    found = {}
    for (address, text), (following, _) in zip(rows, rows[1:]):
        at = int(address, 16)
        if at % STRIDE == 0:
            found[at // STRIDE] = (int(following, 16) - at, text)
    return [found.get(n) for n in range(len(codes))]


def decode(mode, codes):
    records = b"".join(bytes((mode,)) + code for code in codes)
    out = subprocess.run([BINARY, "lengths"], input=records, check=True, capture_output=True).stdout
    return [tuple(map(int, line.split())) for line in out.decode().splitlines()]


def strip_prefixes(text):
    while True:
        shorter = PREFIXES.sub("", text, count=1)
        if shorter == text:
            return text
        text = shorter


def behind_prefixes(code, mode):
    return code.lstrip(bytes((0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3))
                       + (bytes(range(0x40, 0x50)) if mode == 8 else b""))


def is_vector(code, mode):
    """VEX, EVEX or XOP stands behind the prefixes: lintel has no length for them."""
    rest = behind_prefixes(code, mode)
    if len(rest) < 2:
        return False
    if rest[0] == 0x8f:
        return rest[1] & 0x1f >= 8
    return rest[0] in (0x62, 0xc4, 0xc5) and (mode == 8 or rest[1] >= 0xc0)


# Where binutils is no witness.
NO_WITNESS = re.compile(r"\(bad\)"         # never executes
                        r"|^jmpe"          # Itanium's
                        r"|\btr[0-7]\b"    # test registers went with the 486
                        r"|^x(?:store|crypt|sha)|^montmul")  # VIA's


def complaint(code, mode, reference, ours, names):
    """A sentence when lintel and binutils differ, else None."""
    length, text = reference
    bare = strip_prefixes(text)
    mnemonic = bare.split(" ")[0]
    if not mnemonic or NO_WITNESS.search(bare):
        return None
    if behind_prefixes(code, mode)[:1] == b"\x9b":
        return None  # objdump takes FWAIT for a prefix of the x87 instruction behind it
    if ours[0] == ENOTSUP:
        return None if is_vector(code, mode) else "has a length: " + text
    if ours[0] == EINVAL:
        return "is legal: " + text
    if ours[0] != length:
        return f"is {length} long, not {ours[0]}: {text}"
    name = names[ours[1]]
    if name == "OP_OTHER":
        return None
    if name == "OP_XCHG" and mnemonic == "pause":
        return None  # 90 with REX.B is no NOP, so F3 makes no PAUSE of it
    if mnemonic not in MNEMONICS[name].split():
        return f"is {text}, not {name}"
    size = re.search(r"(\w+) PTR", bare)
    if name in ("OP_MOVS", "OP_STOS", "OP_LODS", "OP_SCAS", "OP_CMPS", "OP_INS", "OP_OUTS"):
        return None if SIZES[size.group(1)] == ours[3] else f"has another size than {ours[3]}: {text}"
    memory = "[" in bare or bool(re.search(r"\b[cdefgs]s:", bare))
    if memory != bool(ours[2]):
        return f"disagrees about memory: {text}"
    if size and name not in ("OP_LMSW", "OP_SMSW") and SIZES[size.group(1)] != ours[3]:
        return f"has another size than {ours[3]}: {text}"
    return None


@pytest.mark.parametrize("machine", MODES)
def test_decoder_agrees_with_binutils(machine, tmp_path):
    mode, names = MODES[machine], operations()
    codes = candidates(mode, random.Random(2026))
    references, ours = disassemble(machine, codes, tmp_path), decode(mode, codes)
    assert len(ours) == len(codes)
    compared, complaints = 0, []
    for code, reference, own in zip(codes, references, ours):
        if reference is None:
            continue
        compared += 1
        said = complaint(code, mode, reference, own, names)
        if said:
            complaints.append(f"{code.hex(' ')} {said}")
    assert compared > 10000
    assert not complaints, "\n".join([f"{len(complaints)} of {compared} differ", *complaints[:60]])
