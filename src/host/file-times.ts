/**
 * Sets when a file was last changed, to the nanosecond where that is possible.
 *
 * Node.js takes a time as one floating-point number of seconds, which for dates of our days is up to 120 nanoseconds off:
 * whole seconds are exact, other times seldom are. A file that came back with another time would be taken for changed. So
 * times with a fraction are set by another process, a Perl (on Linux) or Python of the machine, which is started for the
 * first of them, does nothing but utimensat(2), and ends with this process. Where there is neither, the nearest time that
 * Node.js can set is set: the one loss, and no error.
 *
 * 1. A link is never followed.
 * 2. The time of the last access becomes the same.
 * 3. The other process keeps this one alive only while it is asked something.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import type { Socket } from "node:net";
import { constants } from "node:os";
import { resolve } from "node:path";

const second = 1_000_000_000n;

/** utimensat(2): on 64-bit Linux both fields of a `timespec` have 64 bits. */
const callNumbers: Readonly<Record<string, number>> = {
  x64: 280,
  arm64: 88,
  riscv64: 88,
  loong64: 88,
  ppc64: 304,
  s390x: 315,
};

// Both read `seconds nanoseconds NUL path NUL` and answer each with the system's error number, 0 for none, in a line.
const perlScript = `
  $/ = "\\0"; $| = 1; my $call = shift;
  while (defined(my $time = <STDIN>)) {
    my $path = <STDIN>; last unless defined $path;
    chomp($time, $path);
    my ($s, $n) = split(/ /, $time);
    my $failed = syscall($call, -100, $path, pack("q4", $s, $n, $s, $n), 0x100);
    print $failed ? $! + 0 : 0, "\\n";
  }`;
const pythonScript = `
import os, sys
rest = b""
while True:
  data = os.read(0, 65536)
  if not data: break
  parts = (rest + data).split(b"\\0")
  answers = []
  while len(parts) > 2:
    s, n = parts[0].split()
    path = parts[1]
    parts = parts[2:]
    ns = int(s) * 1000000000 + int(n)
    try:
      os.utime(path, ns=(ns, ns), follow_symlinks=False)
      answers.append("0")
    except OSError as error:
      answers.append(str(error.errno))
  rest = b"\\0".join(parts)
  if answers: os.write(1, ("\\n".join(answers) + "\\n").encode())
`;

type Done = (error: Error | null) => void;

interface Waiting {
  readonly path: string | Buffer;
  readonly modifiedNs: bigint;
  readonly done: Done;
}

export interface FileTimesOptions {
  /** Programs to try, in this order. Default: what the machine may have. */
  readonly helpers?: readonly (readonly string[])[] | undefined;
}

export class FileTimes {
  /** What has not been tried yet. */
  readonly #helpers: (readonly string[])[];
  #process: ChildProcess | undefined;
  /** Asked and not answered, in this order. */
  #waiting: Waiting[] = [];
  #answer = "";

  constructor(options: FileTimesOptions = {}) {
    this.#helpers = [...(options.helpers ?? machineHelpers())];
  }

  /** `path` of the name itself. Gives the error of the system as Node.js does. */
  set(path: string | Buffer, modifiedNs: bigint, done: Done): void {
    if (modifiedNs % second === 0n || !this.#start()) return setNearest(path, modifiedNs, done);
    this.#waiting.push({ path, modifiedNs, done });
    const { stdin, stdout } = this.#process as ChildProcess;
    if (this.#waiting.length === 1) (stdout as Socket).ref();
    let seconds = modifiedNs / second;
    if (seconds * second > modifiedNs) seconds -= 1n;
    // The other process is where it was started, and may not follow when this one goes elsewhere.
    const full = typeof path === "string" ? Buffer.from(resolve(path)) : absolute(path);
    const time = `${seconds} ${modifiedNs - seconds * second}\0`;
    stdin?.write(Buffer.concat([Buffer.from(time), full, Buffer.of(0)]));
  }

  /** Whether there is a process to ask. */
  #start(): boolean {
    if (this.#process !== undefined) return true;
    const [program, ...args] = this.#helpers[0] ?? [];
    if (program === undefined) return false;
    const child = spawn(program, args, { stdio: ["pipe", "pipe", "ignore"], cwd: "/" });
    this.#process = child;
    child.unref();
    // Child processes have sockets as pipes.
    for (const pipe of [child.stdin, child.stdout] as Socket[]) pipe.unref();
    const ended = () => this.#ended(child);
    child.once("error", ended);
    child.once("close", ended);
    child.stdout.once("end", ended);
    // That it takes no more also ends with `close`.
    child.stdin.on("error", ended);
    child.stdout.setEncoding("latin1").on("data", (text: string) => {
      if (this.#process === child) this.#read(text, child.stdout as Socket);
    });
    return true;
  }

  #read(text: string, stdout: Socket): void {
    const lines = (this.#answer + text).split("\n");
    this.#answer = lines.pop() ?? "";
    const answered = this.#waiting.splice(0, lines.length);
    if (this.#waiting.length === 0) stdout.unref();
    for (const [index, { path, done }] of answered.entries()) {
      const number = Number(lines[index]);
      done(number === 0 ? null : systemError(number, String(path)));
    }
  }

  /** It is not there, or died: the next one is asked, or nobody. */
  #ended(child: ChildProcess): void {
    if (this.#process !== child) return;
    child.kill();
    this.#process = undefined;
    this.#helpers.shift();
    this.#answer = "";
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { path, modifiedNs, done } of waiting) this.set(path, modifiedNs, done);
  }
}

export function machineHelpers(): (readonly string[])[] {
  const python = ["python3", "-S", "-E", "-c", pythonScript];
  const call = process.platform === "linux" ? callNumbers[process.arch] : undefined;
  return call === undefined ? [python] : [["perl", "-e", perlScript, String(call)], python];
}

/** To the nearest number of seconds that Node.js can say. */
function setNearest(path: string | Buffer, modifiedNs: bigint, done: Done): void {
  // As text, since Node.js takes a negative number for now.
  const seconds = String(Number(modifiedNs / second) + Number(modifiedNs % second) / Number(second));
  fs.lutimes(path, seconds, seconds, done);
}

function absolute(path: Buffer): Buffer {
  return path[0] === 0x2f ? path : Buffer.concat([Buffer.from(`${process.cwd()}/`), path]);
}

/** As Node.js has them: the number's name is in `code`. */
function systemError(number: number, path: string): Error {
  const [code = "EIO"] = Object.entries(constants.errno).find(([, value]) => value === number) ?? [];
  return Object.assign(new Error(`${code}: utimensat '${path}'`), { code });
}
