/**
 * What every `Env` must do, as tests: run by `host/` on the real doors and by `sim/` on the simulated ones, and by whoever
 * makes doors for another platform. It needs `node:test` and nothing else.
 *
 * The tests wait through `run` of the harness, so that a simulation can let its events happen meanwhile, and measure
 * time by the door's own clock alone.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { deferred, giveWay, HoldfastError, sleep, toHex, utf8Encode } from "./index.ts";
import type { Connection, DiskFile, Env, ErrorCode, Listener } from "./index.ts";

export interface DoorsHarness {
  readonly env: Env;
  /** Addresses to listen on, one for each kind that the net serves, with port 0 where there are ports. */
  readonly addresses: readonly string[];
  /** Waits for `promise`, and makes time pass if nobody else does. */
  run<T>(promise: Promise<T>): Promise<T>;
  /** Called at the end: removes what `make` created. */
  close(): Promise<void>;
}

/** `make` is called once, before the first test, and gives an empty disk. */
export function doorsConformance(name: string, make: () => Promise<DoorsHarness>): void {
  describe(`doors: ${name}`, () => {
    let harness: DoorsHarness;
    before(async () => {
      harness = await make();
    });
    after(() => harness.close());
    /** A test whose body is waited for by the harness. */
    const check = (title: string, body: (env: Env, addresses: readonly string[]) => Promise<void>) =>
      test(title, () => harness.run(body(harness.env, harness.addresses)));

    describe("clock", () => clockTests(check));
    describe("random", () => randomTests(check));
    describe("disk", () => diskTests(check));
    describe("net", () => netTests(check));
    describe("digest", () => digestTests(check));
  });
}

type Check = (title: string, body: (env: Env, addresses: readonly string[]) => Promise<void>) => Promise<void>;

function isError(code: ErrorCode, pattern = /./): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof HoldfastError, `not a HoldfastError: ${String(error)}`);
    assert.equal(error.code, code, error.message);
    assert.match(error.message, pattern);
    return true;
  };
}

/** `size` bytes that depend on their place, so that a swap or a shift shows. */
function pattern(size: number, salt = 0): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let index = 0; index < size; index += 1) bytes[index] = (index * 31 + (index >>> 8) * 7 + salt) & 0xff;
  return bytes;
}

/** Cuts bytes at places that look random. */
function pieces(bytes: Uint8Array, sizeMax: number): Uint8Array[] {
  const list: Uint8Array[] = [];
  for (let from = 0, step = 7; from < bytes.length; step = (step * 75 + 74) % 65_537) {
    const to = Math.min(bytes.length, from + 1 + (step % sizeMax));
    list.push(bytes.subarray(from, to));
    from = to;
  }
  return list;
}

function clockTests(check: Check): void {
  check("the wall clock gives whole milliseconds since 1970", async ({ clock }) => {
    const now = clock.wallMs();
    assert.ok(Number.isSafeInteger(now) && now > 1_500_000_000_000, `wallMs() is ${now}`);
  });

  check("monotonic time never goes back and passes while one waits", async ({ clock }) => {
    const start = clock.monotonicMs();
    let last = start;
    for (let count = 0; count < 1_000; count += 1) {
      const now = clock.monotonicMs();
      assert.ok(now >= last);
      last = now;
    }
    await sleep(clock, 2);
    assert.ok(clock.monotonicMs() >= start + 2);
  });

  check("a timer never runs early and never inside the call that sets it", async ({ clock }) => {
    for (const delayMs of [0, 0.25, 0.5, 1, 1.75, 3, 3, 3, 4.999]) {
      const done = deferred<number>();
      const setMs = clock.monotonicMs();
      let inside = true;
      clock.schedule(delayMs, () => {
        assert.equal(inside, false);
        done.resolve(clock.monotonicMs());
      });
      inside = false;
      const ranMs = await done.promise;
      assert.ok(ranMs >= setMs + delayMs, `a timer of ${delayMs} ms ran after ${ranMs - setMs} ms`);
    }
  });

  check("timers of the same delay run in the order in which they were set", async ({ clock }) => {
    const order: number[] = [];
    const done = deferred<void>();
    for (let index = 0; index < 100; index += 1) {
      clock.schedule(3, () => {
        order.push(index);
        if (order.length === 100) done.resolve();
      });
    }
    await done.promise;
    assert.deepEqual(
      order,
      Array.from({ length: 100 }, (_, index) => index),
    );
  });

  check("a cancelled timer does not run, even if it was cancelled by a timer of the same moment", async ({ clock }) => {
    let ran = false;
    const early = clock.schedule(1, () => (ran = true));
    early.cancel();
    const first = clock.schedule(2, () => second.cancel());
    const second = clock.schedule(2, () => (ran = true));
    await sleep(clock, 6);
    assert.equal(ran, false);
    first.cancel();
    early.cancel();
  });

  check("a delay of months does not run at once", async ({ clock }) => {
    let ran = false;
    const timer = clock.schedule(9_000_000_000, () => (ran = true));
    await sleep(clock, 5);
    timer.cancel();
    assert.equal(ran, false);
  });

  check("a negative delay is a bug", async ({ clock }) => {
    assert.throws(() => clock.schedule(-1, () => {}), { name: "AssertionError" });
    assert.throws(() => clock.schedule(Number.NaN, () => {}), { name: "AssertionError" });
  });

  check("defer runs later, in order, after what promises had to do", async ({ clock }) => {
    const order: string[] = [];
    const done = deferred<void>();
    clock.defer(() => order.push("first"));
    clock.defer(() => {
      order.push("second");
      done.resolve();
    });
    void Promise.resolve().then(() => order.push("promise"));
    order.push("call");
    await done.promise;
    assert.deepEqual(order, ["call", "promise", "first", "second"]);
  });

  check("a loop that gives way lets timers run", async ({ clock }) => {
    const state = { ran: false };
    clock.schedule(2, () => (state.ran = true));
    while (!state.ran) await giveWay(clock);
  });
}

function randomTests(check: Check): void {
  check("uint32 and float stay in their ranges and use all of them", async ({ random }) => {
    let low = 0xffff_ffff;
    let high = 0;
    let sum = 0;
    const count = 20_000;
    for (let index = 0; index < count; index += 1) {
      const value = random.uint32();
      assert.ok(Number.isInteger(value) && value >= 0 && value <= 0xffff_ffff);
      low = Math.min(low, value);
      high = Math.max(high, value);
      const float = random.float();
      assert.ok(float >= 0 && float < 1);
      sum += float;
    }
    // Each bound fails for a right generator less often than once in 10^9 runs.
    assert.ok(low < 0xffff_ffff / 500 && high > 0xffff_ffff - 0xffff_ffff / 500);
    assert.ok(Math.abs(sum / count - 0.5) < 0.0125);
  });

  check("bytes have the size asked for, are uniform, and never come twice", async ({ random }) => {
    for (const size of [0, 1, 3, 16, 1_000, 8_191, 8_192, 100_000]) assert.equal(random.bytes(size).length, size);
    const counts = new Uint32Array(256);
    for (const byte of random.bytes(256_000)) counts[byte] = (counts[byte] as number) + 1;
    // Chi-squared with 255 degrees of freedom: mean 255, deviation 22.6.
    let chi = 0;
    for (const count of counts) chi += (count - 1_000) ** 2 / 1_000;
    assert.ok(chi > 100 && chi < 450, `chi-squared is ${chi}`);
    const seen = new Set<string>();
    for (let index = 0; index < 5_000; index += 1) seen.add(random.bytes(16).join());
    assert.equal(seen.size, 5_000);
  });

  check("bytes are the caller's own", async ({ random }) => {
    const first = random.bytes(16);
    const copy = first.slice();
    random.bytes(16).fill(0);
    for (let index = 0; index < 1_000; index += 1) random.bytes(64);
    assert.deepEqual(first, copy);
  });
}

async function contents(file: DiskFile): Promise<Uint8Array> {
  return file.read(0, await file.size());
}

function diskTests(check: Check): void {
  let fileCount = 0;
  const fresh = () => `file-${(fileCount += 1)}`;

  for (const durable of [false, true]) {
    check(`a ${durable ? "durable" : "plain"} file gives back what was written`, async ({ disk }) => {
      const path = fresh();
      const file = await disk.open(path, "write", { durable });
      assert.equal(file.path, path);
      assert.equal(await file.size(), 0);
      await file.write([pattern(10), new Uint8Array(0), pattern(5, 1)], 0);
      await file.write([pattern(4, 2)], 3);
      const expected = new Uint8Array(15);
      expected.set(pattern(10));
      expected.set(pattern(5, 1), 10);
      expected.set(pattern(4, 2), 3);
      assert.equal(await file.size(), 15);
      assert.deepEqual(await contents(file), expected);
      await file.sync();
      await file.close();
      const again = await disk.open(path, "read");
      assert.deepEqual(await contents(again), expected);
      await again.close();
    });
  }

  check("a write of more buffers than a system call takes is whole", async ({ disk }) => {
    const file = await disk.open(fresh(), "write", { durable: true });
    const bytes = pattern(60_000);
    const buffers = pieces(bytes, 13);
    assert.ok(buffers.length > 2_048);
    await file.write(buffers, 7);
    assert.deepEqual(await file.read(7, 60_000), bytes);
    assert.deepEqual(await file.read(0, 7), new Uint8Array(7));
    await file.close();
  });

  check("writing nothing changes nothing", async ({ disk }) => {
    const file = await disk.open(fresh(), "write");
    await file.write([], 10);
    await file.write([new Uint8Array(0)], 10);
    assert.equal(await file.size(), 0);
    await file.close();
  });

  check("a read is short only at the end of the file, whatever size was asked for", async ({ disk }) => {
    const file = await disk.open(fresh(), "write");
    await file.write([pattern(100)], 0);
    assert.deepEqual(await file.read(90, 100), pattern(100).subarray(90));
    assert.deepEqual(await file.read(0, 1_000_000_000_000), pattern(100));
    assert.equal((await file.read(100, 10)).length, 0);
    assert.equal((await file.read(5_000, 10)).length, 0);
    assert.equal((await file.read(5, 0)).length, 0);
    await file.close();
  });

  check("what was read is the caller's own, a plain Uint8Array", async ({ disk }) => {
    const file = await disk.open(fresh(), "write");
    await file.write([pattern(100)], 0);
    const bytes = await file.read(0, 100);
    assert.equal(Object.getPrototypeOf(bytes), Uint8Array.prototype);
    bytes.fill(0);
    assert.deepEqual(await file.read(0, 100), pattern(100));
    await file.close();
  });

  check("a hole reads as zeros", async ({ disk }) => {
    const file = await disk.open(fresh(), "write");
    await file.write([pattern(3)], 5_000);
    assert.equal(await file.size(), 5_003);
    assert.deepEqual(await file.read(0, 5_000), new Uint8Array(5_000));
    await file.close();
  });

  check("calls may overlap", async ({ disk }) => {
    const file = await disk.open(fresh(), "write", { durable: true });
    const writes = Array.from({ length: 64 }, (_, index) => file.write([pattern(100, index)], 100 * index));
    await Promise.all([...writes, file.size(), file.sync()]);
    const reads = await Promise.all(Array.from({ length: 64 }, (_, index) => file.read(100 * index, 100)));
    reads.forEach((bytes, index) => assert.deepEqual(bytes, pattern(100, index)));
    await file.close();
  });

  check("truncate cuts, and extends with zeros", async ({ disk }) => {
    const file = await disk.open(fresh(), "write");
    await file.write([pattern(1_000)], 0);
    await file.truncate(10);
    assert.equal(await file.size(), 10);
    await file.truncate(1_000);
    const expected = new Uint8Array(1_000);
    expected.set(pattern(10));
    assert.deepEqual(await contents(file), expected);
    await file.sync();
    await file.close();
  });

  check("open for reading needs the file and refuses to change it", async ({ disk }) => {
    const path = fresh();
    await assert.rejects(disk.open(path, "read"), isError("notFound", new RegExp(path)));
    await (await disk.open(path, "write")).close();
    const file = await disk.open(path, "read");
    await assert.rejects(file.write([pattern(1)], 0), isError("denied", new RegExp(path)));
    await assert.rejects(file.truncate(0), isError("denied"));
    await file.close();
    await assert.rejects(disk.open(`missing/${path}`, "write"), isError("notFound"));
  });

  check("open for writing keeps what is there, and two handles see the same file", async ({ disk }) => {
    const path = fresh();
    const first = await disk.open(path, "write");
    await first.write([pattern(10)], 0);
    const second = await disk.open(path, "write", { durable: true });
    await second.write([pattern(10, 1)], 10);
    assert.equal(await first.size(), 20);
    assert.deepEqual(await first.read(10, 10), pattern(10, 1));
    await first.close();
    assert.deepEqual(await second.read(0, 10), pattern(10));
    await second.close();
  });

  check("close is idempotent, lets calls under way finish, and ends the file", async ({ disk }) => {
    const path = fresh();
    const file = await disk.open(path, "write");
    const write = file.write([pattern(100_000)], 0);
    await Promise.all([file.close(), file.close(), write]);
    await file.close();
    await assert.rejects(file.read(0, 1), isError("unavailable", /closed/));
    await assert.rejects(file.write([pattern(1)], 0), isError("unavailable", /closed/));
    const again = await disk.open(path, "read");
    assert.equal(await again.size(), 100_000);
    await again.close();
  });

  check("directories: made with their parents, listed in order", async ({ disk }) => {
    await disk.makeDirectory("d/e/f");
    await disk.makeDirectory("d/e/f");
    await disk.makeDirectory("");
    assert.deepEqual(await disk.list("d/e/f"), []);
    for (const name of ["b", "a", "B", "ä", "10", "9"]) await (await disk.open(`d/e/${name}`, "write")).close();
    assert.deepEqual(await disk.list("d/e"), ["10", "9", "B", "a", "b", "f", "ä"]);
    assert.ok((await disk.list("")).includes("d"));
    await disk.syncDirectory("d/e");
    await disk.syncDirectory("");
    await assert.rejects(disk.list("nowhere"), isError("notFound", /nowhere/));
    await assert.rejects(disk.syncDirectory("nowhere"), isError("notFound"));
    await assert.rejects(disk.makeDirectory("d/e/a"), isError("exists"));
    await assert.rejects(disk.list("d/e/a"), isError("invalid"));
    await assert.rejects(disk.open("d/e", "write"), isError("invalid", /directory/));
    await assert.rejects(disk.open("d/e", "read"), isError("invalid", /directory/));
    await assert.rejects(disk.open("d/e/a/x", "write"), isError("invalid"));
  });

  check("rename replaces, moves between directories, and keeps open handles", async ({ disk }) => {
    await disk.makeDirectory("r/s");
    const file = await disk.open("r/one", "write");
    await file.write([pattern(10)], 0);
    const old = await disk.open("r/two", "write");
    await old.write([pattern(20, 1)], 0);
    await disk.rename("r/one", "r/two");
    assert.deepEqual(await disk.list("r"), ["s", "two"]);
    await disk.rename("r/two", "r/s/three");
    assert.deepEqual(await disk.list("r"), ["s"]);
    await file.write([pattern(5, 2)], 10);
    const found = await disk.open("r/s/three", "read");
    assert.equal(await found.size(), 15);
    // The replaced file lives on for whoever has it open.
    assert.equal(await old.size(), 20);
    await assert.rejects(disk.rename("r/one", "r/x"), isError("notFound", /one/));
    await assert.rejects(disk.rename("r/s/three", "r/nowhere/x"), isError("notFound"));
    for (const each of [file, old, found]) await each.close();
  });

  check("remove takes the name away", async ({ disk }) => {
    const path = fresh();
    const file = await disk.open(path, "write");
    await file.write([pattern(10)], 0);
    await disk.remove(path);
    await assert.rejects(disk.open(path, "read"), isError("notFound"));
    await assert.rejects(disk.remove(path), isError("notFound", new RegExp(path)));
    assert.deepEqual(await contents(file), pattern(10));
    await file.close();
    await disk.makeDirectory("full");
    await assert.rejects(disk.remove("full"), isError("invalid"));
  });

  check("no path leads out of the root", async ({ disk }) => {
    for (const path of ["../x", "a/../../x", "/etc/passwd", "a//b", "./a", "a/.", "a/", "a\\b", "C:x", "a\0b", ".."]) {
      await assert.rejects(disk.open(path, "write"), isError("invalid"), path);
      await assert.rejects(disk.remove(path), isError("invalid"), path);
      await assert.rejects(disk.rename(path, "x"), isError("invalid"), path);
      await assert.rejects(disk.rename("x", path), isError("invalid"), path);
      await assert.rejects(disk.list(path), isError("invalid"), path);
      await assert.rejects(disk.makeDirectory(path), isError("invalid"), path);
      await assert.rejects(disk.syncDirectory(path), isError("invalid"), path);
    }
    await assert.rejects(disk.open("", "write"), isError("invalid"));
  });

  check("the lock has one holder, leaves nothing in the listing, and is released once", async ({ disk }) => {
    const names = await disk.list("");
    const first = await disk.lock();
    assert.deepEqual(await disk.list(""), names);
    await assert.rejects(disk.lock(), isError("conflict", /in use/));
    await first.release();
    const second = await disk.lock();
    await first.release();
    await assert.rejects(disk.lock(), isError("conflict"));
    await second.release();
    await (await disk.lock()).release();
    assert.deepEqual(await disk.list(""), names);
  });

  check("random reads, writes and truncations agree with an array", async ({ disk }) => {
    const file = await disk.open(fresh(), "write");
    let model = new Uint8Array(0);
    const resize = (size: number) => {
      const next = new Uint8Array(size);
      next.set(model.subarray(0, size));
      model = next;
    };
    let state = 12_345;
    const below = (limit: number) => (state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff) % limit;
    for (let step = 0; step < 300; step += 1) {
      const offset = below(5_000);
      const size = below(700);
      const dice = below(10);
      if (dice < 5) {
        const bytes = pattern(size, step);
        await file.write(pieces(bytes, 200), offset);
        if (size > 0 && offset + size > model.length) resize(offset + size);
        model.set(bytes, Math.min(offset, model.length));
      } else if (dice < 9) {
        assert.deepEqual(await file.read(offset, size), model.slice(offset, offset + size), `step ${step}`);
      } else {
        await file.truncate(offset);
        resize(offset);
      }
    }
    assert.deepEqual(await contents(file), model);
    await file.close();
  });
}

/** A connection with its events made into promises. */
class Recorder {
  readonly connection: Connection;
  readonly received: Uint8Array[] = [];
  readonly closed = deferred<Error | undefined>();
  receivedSize = 0;
  drainedCount = 0;
  closedCount = 0;
  #wakes: (() => void)[] = [];

  constructor(connection: Connection, onData?: (bytes: Uint8Array) => void) {
    this.connection = connection;
    connection.start({
      data: (bytes) => {
        assert.equal(this.closedCount, 0, "data after closed");
        assert.ok(bytes.length > 0, "data without bytes");
        this.received.push(bytes.slice());
        this.receivedSize += bytes.length;
        onData?.(bytes);
        this.#wake();
      },
      drained: () => {
        assert.equal(this.closedCount, 0, "drained after closed");
        this.drainedCount += 1;
        this.#wake();
      },
      closed: (error) => {
        this.closedCount += 1;
        assert.equal(this.closedCount, 1, "closed twice");
        this.closed.resolve(error);
        this.#wake();
      },
    });
  }

  /** All that was received, in one array. */
  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.receivedSize);
    let offset = 0;
    for (const piece of this.received) {
      bytes.set(piece, offset);
      offset += piece.length;
    }
    return bytes;
  }

  async until(condition: () => boolean): Promise<void> {
    while (!condition()) {
      assert.equal(this.closedCount, 0, "closed before the condition held");
      await new Promise<void>((resolve) => this.#wakes.push(resolve));
    }
  }

  /** Writes all, in batches, waiting for `drained` when asked to; gives how often that was. */
  async send(bytes: Uint8Array): Promise<number> {
    let waits = 0;
    const list = pieces(bytes, 20_000);
    for (let from = 0; from < list.length; from += 3) {
      if (this.connection.write(list.slice(from, from + 3))) continue;
      waits += 1;
      const before = this.drainedCount;
      await this.until(() => this.drainedCount > before);
    }
    return waits;
  }

  #wake(): void {
    for (const wake of this.#wakes.splice(0)) wake();
  }
}

interface Pair {
  readonly client: Recorder;
  readonly server: Recorder;
  readonly listener: Listener;
}

/** Two ends of a connection, both started. */
async function pair(
  { net }: Env,
  address: string,
  onServerData?: (c: Connection, b: Uint8Array) => void,
): Promise<Pair> {
  const accepted = deferred<Recorder>();
  const listener = await net.listen(address, (connection) =>
    accepted.resolve(new Recorder(connection, onServerData && ((bytes) => onServerData(connection, bytes)))),
  );
  const client = new Recorder(await net.connect(listener.address));
  return { client, server: await accepted.promise, listener };
}

function netTests(check: Check): void {
  /** The same test on every kind of address. */
  const each = (title: string, body: (env: Env, address: string) => Promise<void>) =>
    check(title, async (env, addresses) => {
      for (const address of addresses) {
        try {
          await body(env, address);
        } catch (error) {
          if (error instanceof Error) error.message = `${address}: ${error.message}`;
          throw error;
        }
      }
    });

  each("bytes go both ways, in order, and nothing is lost at the end", async (env, address) => {
    const { client, server, listener } = await pair(env, address);
    assert.notEqual(client.connection.peer, "");
    assert.notEqual(server.connection.peer, "");
    const [up, down] = [pattern(1_000_000), pattern(700_000, 9)];
    await Promise.all([client.send(up), server.send(down)]);
    await client.until(() => client.receivedSize === down.length);
    client.connection.end();
    assert.equal(await client.closed.promise, undefined);
    assert.equal(await server.closed.promise, undefined);
    assert.deepEqual(server.bytes(), up);
    assert.deepEqual(client.bytes(), down);
    await listener.close();
  });

  each("a batch of many small buffers, of empty ones, and of none", async (env, address) => {
    const { client, server, listener } = await pair(env, address);
    const bytes = pattern(30_000);
    client.connection.write([]);
    client.connection.write([new Uint8Array(0)]);
    client.connection.write(pieces(bytes, 20));
    client.connection.write([new Uint8Array(0), bytes, new Uint8Array(0), bytes.slice(), bytes.slice()]);
    await server.until(() => server.receivedSize === 4 * bytes.length);
    for (let part = 0; part < 4; part += 1) {
      assert.deepEqual(server.bytes().slice(part * bytes.length, (part + 1) * bytes.length), bytes);
    }
    client.connection.end();
    await Promise.all([client.closed.promise, server.closed.promise]);
    await listener.close();
  });

  each("delivered arrays are plain", async (env, address) => {
    const prototypes = new Set<unknown>();
    const { client, server, listener } = await pair(env, address, (_connection, bytes) =>
      prototypes.add(Object.getPrototypeOf(bytes)),
    );
    client.connection.write([pattern(10)]);
    await server.until(() => server.receivedSize === 10);
    assert.deepEqual([...prototypes], [Uint8Array.prototype]);
    client.connection.end();
    await Promise.all([client.closed.promise, server.closed.promise]);
    await listener.close();
  });

  each("nothing is delivered before start, and nothing is lost by starting late", async (env, address) => {
    const accepted = deferred<Connection>();
    const listener = await env.net.listen(address, (connection) => accepted.resolve(connection));
    const client = new Recorder(await env.net.connect(listener.address));
    client.connection.write([pattern(5_000)]);
    client.connection.end();
    const connection = await accepted.promise;
    await sleep(env.clock, 5);
    const server = new Recorder(connection);
    assert.equal(server.receivedSize, 0);
    assert.equal(await server.closed.promise, undefined);
    assert.deepEqual(server.bytes(), pattern(5_000));
    assert.equal(await client.closed.promise, undefined);
    await listener.close();
  });

  each(
    "a reader that pauses stops the writer, within bounded memory, and gets everything later",
    async (env, address) => {
      const { client, server, listener } = await pair(env, address);
      server.connection.pause();
      const chunk = pattern(65_536);
      let sent = 0;
      // The system's own buffers take some megabytes before it shows; without back-pressure this would not end.
      while (client.connection.write([chunk])) {
        sent += 1;
        assert.ok(sent < 1_000, "64 MB are on their way to a reader that does not read");
        await giveWay(env.clock);
      }
      sent += 1;
      const before = server.receivedSize;
      await sleep(env.clock, 5);
      assert.equal(server.receivedSize, before, "delivered while paused");
      assert.equal(client.drainedCount, 0);
      server.connection.resume();
      await client.until(() => client.drainedCount === 1);
      await server.until(() => server.receivedSize === sent * chunk.length);
      client.connection.end();
      await Promise.all([client.closed.promise, server.closed.promise]);
      assert.equal(client.drainedCount, 1);
      await listener.close();
    },
  );

  each("pausing inside data holds the rest back", async (env, address) => {
    let pausedAt = 0;
    const { client, server, listener } = await pair(env, address, (connection) => {
      pausedAt += 1;
      connection.pause();
    });
    const sending = client.send(pattern(200_000));
    while (server.receivedSize < 200_000) {
      await server.until(() => pausedAt > 0);
      const size = server.receivedSize;
      await giveWay(env.clock);
      assert.equal(server.receivedSize, size);
      pausedAt = 0;
      server.connection.resume();
    }
    await sending;
    assert.deepEqual(server.bytes(), pattern(200_000));
    client.connection.end();
    await Promise.all([client.closed.promise, server.closed.promise]);
    await listener.close();
  });

  each("what answers the last bytes still arrives after end", async (env, address) => {
    const { client, server, listener } = await pair(env, address, (connection, bytes) =>
      connection.write([bytes.slice(), bytes.slice()]),
    );
    client.connection.write([pattern(3_000)]);
    client.connection.end();
    assert.equal(await client.closed.promise, undefined);
    assert.equal(await server.closed.promise, undefined);
    assert.equal(client.receivedSize, 6_000);
    await listener.close();
  });

  each("a write after end is ignored and says false; end and destroy may come again", async (env, address) => {
    const { client, server, listener } = await pair(env, address);
    client.connection.write([pattern(10)]);
    client.connection.end();
    assert.equal(client.connection.write([pattern(10)]), false);
    client.connection.end();
    await Promise.all([client.closed.promise, server.closed.promise]);
    assert.equal(server.receivedSize, 10);
    assert.equal(client.connection.write([pattern(10)]), false);
    client.connection.end();
    client.connection.destroy(new Error("too late"));
    client.connection.pause();
    client.connection.resume();
    await listener.close();
  });

  each("destroy closes at once, with its error here and without delay there", async (env, address) => {
    const { client, server, listener } = await pair(env, address);
    client.connection.write([pattern(10)]);
    await server.until(() => server.receivedSize === 10);
    const error = new HoldfastError("timeout", "no sign of life");
    server.connection.destroy(error);
    assert.equal(server.closedCount, 0, "closed inside destroy");
    assert.equal(await server.closed.promise, error);
    const seen = await client.closed.promise;
    if (seen !== undefined) isError("unavailable")(seen);
    await listener.close();
  });

  each("a destroyed connection that was never started tells whoever starts it", async (env, address) => {
    const accepted = deferred<Connection>();
    const listener = await env.net.listen(address, (connection) => accepted.resolve(connection));
    const connection = await env.net.connect(listener.address);
    // With TLS 1.3 a client is ready before its listener is, which never hears of one that left in between.
    const other = await accepted.promise;
    connection.destroy();
    await sleep(env.clock, 2);
    const late = new Recorder(connection);
    assert.equal(late.closedCount, 0);
    assert.equal(await late.closed.promise, undefined);
    const server = new Recorder(other);
    await server.closed.promise;
    await listener.close();
  });

  each("a closed listener refuses the next and keeps those it has", async (env, address) => {
    const { client, server, listener } = await pair(env, address);
    await listener.close();
    await listener.close();
    await assert.rejects(env.net.connect(listener.address), isError("unavailable"));
    client.connection.write([pattern(10)]);
    await server.until(() => server.receivedSize === 10);
    client.connection.end();
    await Promise.all([client.closed.promise, server.closed.promise]);
    const again = await env.net.listen(listener.address, () => {});
    assert.equal(again.address, listener.address);
    await again.close();
  });

  each("an address has one listener", async (env, address) => {
    const listener = await env.net.listen(address, () => {});
    await assert.rejects(
      env.net.listen(listener.address, () => {}),
      isError("conflict", /in use/),
    );
    await listener.close();
  });

  each("connect gives up when its signal aborts", async (env, address) => {
    const listener = await env.net.listen(address, (connection) => new Recorder(connection));
    await assert.rejects(env.net.connect(listener.address, { signal: AbortSignal.abort() }), isError("cancelled"));
    const controller = new AbortController();
    const attempt = env.net.connect(listener.address, { signal: controller.signal });
    controller.abort(new HoldfastError("timeout", "the deadline passed"));
    await assert.rejects(attempt, isError("timeout"));
    await listener.close();
  });

  each("many connections at once do not mix", async (env, address) => {
    const listener = await env.net.listen(address, (connection) => {
      const echo = new Recorder(connection, (bytes) => connection.write([bytes.slice()]));
      assert.ok(echo);
    });
    const clients = await Promise.all(
      Array.from({ length: 20 }, async () => new Recorder(await env.net.connect(listener.address))),
    );
    await Promise.all(clients.map((client, index) => client.send(pattern(20_000, index))));
    for (const [index, client] of clients.entries()) {
      await client.until(() => client.receivedSize === 20_000);
      assert.deepEqual(client.bytes(), pattern(20_000, index));
      client.connection.end();
    }
    await Promise.all(clients.map((client) => client.closed.promise));
    await listener.close();
  });

  check("an address that makes no sense is refused", async ({ net }) => {
    for (const address of ["", "nowhere", "host:", ":1", "host:99999", "pigeon:host:1", "a b:1", "host:-1", "::1:80"]) {
      await assert.rejects(net.connect(address), isError("invalid"), address);
      await assert.rejects(
        net.listen(address, () => {}),
        isError("invalid"),
        address,
      );
    }
  });
}

function digestTests(check: Check): void {
  check("SHA-256 of the standard's examples", async ({ digest }) => {
    const long = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    const vectors: [Uint8Array, string][] = [
      [utf8Encode(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"],
      [utf8Encode("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
      [utf8Encode(long), "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"],
      [utf8Encode("a".repeat(1_000_000)), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"],
    ];
    for (const [bytes, expected] of vectors) {
      const hash = digest.sha256(bytes);
      assert.equal(Object.getPrototypeOf(hash), Uint8Array.prototype);
      assert.equal(toHex(hash), expected);
    }
  });

  check("CRC-32 as in zlib, and continued", async ({ digest }) => {
    assert.equal(digest.crc32(utf8Encode("")), 0);
    assert.equal(digest.crc32(utf8Encode("123456789")), 0xcbf4_3926);
    const bytes = pattern(10_000);
    const whole = digest.crc32(bytes);
    for (const cut of [0, 1, 2, 3, 4, 5, 4_999, 10_000]) {
      assert.equal(digest.crc32(bytes.subarray(cut), digest.crc32(bytes.subarray(0, cut))), whole);
    }
  });

  check("what was compressed comes back, and only within its limit", async ({ digest }) => {
    for (const bytes of [new Uint8Array(0), pattern(1), pattern(100_000), new Uint8Array(3_000_000)]) {
      const frame = digest.compress(bytes);
      if (frame === undefined) continue;
      const back = digest.decompress(frame, bytes.length);
      assert.equal(Object.getPrototypeOf(back), Uint8Array.prototype);
      assert.deepEqual(back, bytes);
      assert.deepEqual(digest.decompress(frame, bytes.length + 1_000_000), bytes);
      if (bytes.length > 0) assert.throws(() => digest.decompress(frame, bytes.length - 1), isError("corrupt"));
      for (const size of [0, 1, frame.length - 1]) {
        assert.throws(() => digest.decompress(frame.subarray(0, size), bytes.length), isError("corrupt"));
      }
      const longer = new Uint8Array(frame.length + 1);
      longer.set(frame);
      assert.throws(() => digest.decompress(longer, bytes.length), isError("corrupt"));
    }
  });

  check("bytes that are no frame are corrupt", async ({ digest }) => {
    for (const size of [0, 1, 4, 100, 5_000]) {
      assert.throws(() => digest.decompress(pattern(size), 10_000), isError("corrupt"));
    }
  });
}
