// Makes a WebAssembly program that Go's linker has written smaller to download, in place, in two ways the linker has no
// flag for. It takes out what serves stack traces only: the names of functions and files, line numbers, and which arguments
// are where. And it lays the data out as one piece: the linker leaves out zeros, and a table of the runtime, which is
// mostly zeros, becomes 95,000 pieces with an address each, which compress far worse than the zeros.
// Prints the first address and the name of each function, with which a trace can still be read:
//   node strip.mjs sotto.wasm > functions.txt
// docs/decisions/0004-browser-core-size.md has the numbers.
//
// What is known here of the layout is in the Go distribution: cmd/link/internal/ld/pcln.go writes it, runtime/symtab.go
// reads it, and takes table 0 for "unknown". Anything that does not look like that stops the build.
import { readFileSync, writeFileSync } from "node:fs";

const file = process.argv[2];
const wasm = readFileSync(file);

function need(condition, what) {
  if (!condition) throw new Error(`${file}: ${what}. Does this version of Go lay its tables out differently?`);
}

// uleb reads an unsigned LEB128 number and returns it with the place after it.
function uleb(bytes, at) {
  let value = 0, shift = 0, b;
  do {
    b = bytes[at++];
    value += (b & 0x7f) * 2 ** shift;
    shift += 7;
  } while (b & 0x80);
  return [value, at];
}

// dataSection finds where the data section is in the file, and its pieces: where each is in memory and in the file, and its
// length.
function dataSection() {
  for (let at = 8, id, length, start; at < wasm.length; at += length) {
    start = at;
    id = wasm[at];
    [length, at] = uleb(wasm, at + 1);
    if (id !== 11) continue;
    const pieces = [], end = at + length;
    let count;
    [count, at] = uleb(wasm, at);
    for (let address, size; count > 0; count--) {
      need(wasm[at] === 0 && wasm[at + 1] === 0x41, "a data segment without a constant address");
      [address, at] = uleb(wasm, at + 2); // positive, so that its sign does not matter
      need(wasm[at] === 0x0b, "an address that is more than a constant");
      [size, at] = uleb(wasm, at + 1);
      pieces.push({ address, at, size });
      at += size;
    }
    return { start, end, pieces };
  }
  throw new Error(`${file}: no data section`);
}

const section = dataSection(), { pieces } = section;
const memory = Buffer.alloc(pieces.reduce((n, { address, size }) => Math.max(n, address + size), 0));
for (const { address, at, size } of pieces) wasm.copy(memory, address, at, at + size);

// The header: magic, 0, 0, instruction quantum 1, pointer size 8; then number of functions, of files, text start, and the
// offsets of names, compilation units, files, tables and functions.
const header = memory.indexOf(Buffer.from([0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8]));
need(header > 0 && memory.indexOf(memory.subarray(header, header + 8), header + 1) < 0, "not exactly one table header");
const word = (i) => Number(memory.readBigUInt64LE(header + 8 + 8 * i));
const functions = word(0), names = header + word(3), units = header + word(4), tables = header + word(6), list = header + word(7);
need(functions > 0 && header < names && names < units && units < tables && tables < list && list < memory.length, "impossible offsets");

// The runtime looks at names in few places. Beginnings tell its own goroutines from others. It takes the name of a method
// apart when a method of a value is called without one; package fmt for example recovers from that. And it knows two
// functions of reflect. So one name stands for all functions, and one for the runtime's.
const plain = "?.(*?).?", runtime = "runtime.(*?).?", whole = ["reflect.makeFuncStub", "reflect.methodValueCall"];
const placeOf = new Map();
let nameEnd = 1; // at 0 a name would be empty
const left = Buffer.alloc(units - names);
for (const name of [plain, runtime, ...whole]) {
  placeOf.set(name, nameEnd);
  nameEnd += left.write(name, nameEnd) + 1;
}

// rename gives a function a name that stays, and returns the one it had.
function rename(f) {
  const start = names + memory.readUInt32LE(f + 4), end = memory.indexOf(0, start);
  need(start < units && end < units, "a name beyond the names");
  const name = memory.toString("utf8", start, end);
  memory.writeUInt32LE(placeOf.get(name) ?? placeOf.get(name.startsWith("runtime.") ? runtime : plain), f + 4);
  return name;
}

// A table is pairs of numbers until a first one of 0, which may be 0 at the very beginning.
const used = new Uint8Array(list - tables);
function keep(offset) {
  if (offset === 0) return;
  need(offset < used.length, "a table beyond the tables");
  const start = tables + offset;
  let at = start, value, end;
  for (;;) {
    [value, end] = uleb(memory, at);
    if (value === 0 && at !== start) break;
    [, at] = uleb(memory, end);
    need(at < list, "a table without an end");
  }
  used.fill(1, start - tables, end - tables);
}

// Fields of a function: 4 name, 16 stack depths, 20 files, 24 lines, 28 number of further tables, 32 compilation unit,
// 36 first line, 43 number of pointers to data, 44 those tables and then those pointers. Of the tables, 0 says where a
// signal may interrupt (WebAssembly has none) and 3 which arguments are alive, as data 5 and 6 do.
const unused = { tables: [0, 3], data: [5, 6] };
const traces = [];
for (let i = 0; i < functions; i++) {
  const f = list + memory.readUInt32LE(list + 8 * i + 4);
  const further = memory.readUInt32LE(f + 28), data = memory[f + 43];
  need(further <= 8 && data <= 16, "a function with too many tables");
  traces.push(`${memory.readUInt32LE(list + 8 * i).toString(16)} ${rename(f)}`);
  keep(memory.readUInt32LE(f + 16));
  for (const j of unused.tables) if (j < further) memory.writeUInt32LE(0, f + 44 + 4 * j);
  for (const j of unused.data) if (j < data) memory.writeUInt32LE(0xffffffff, f + 44 + 4 * (further + j));
  for (let j = 0; j < further; j++) keep(memory.readUInt32LE(f + 44 + 4 * j));
  for (const field of [20, 24, 32, 36]) memory.writeUInt32LE(0, f + field);
}
used.forEach((inUse, i) => { if (!inUse) memory[tables + i] = 0; });
memory.fill(0, names, tables); // names, compilation units, files
left.copy(memory, names);
console.log(traces.join("\n"));

// leb writes a positive number as LEB128: unsigned, or signed, where the last bit of the last byte would be the sign.
function leb(value, signed = false) {
  const bytes = [];
  for (; value > (signed ? 0x3f : 0x7f); value = Math.floor(value / 128)) bytes.push(value % 128 + 128);
  return Buffer.from([...bytes, value]);
}

// Memory is all zeros before the data is placed, so zeros between the pieces change nothing.
const first = pieces.reduce((n, { address }) => Math.min(n, address), memory.length);
const data = Buffer.concat([
  leb(1), Buffer.from([0, 0x41]), leb(first, true), Buffer.from([0x0b]), leb(memory.length - first), memory.subarray(first),
]);
writeFileSync(file, Buffer.concat([wasm.subarray(0, section.start), Buffer.from([11]), leb(data.length), data, wasm.subarray(section.end)]));
