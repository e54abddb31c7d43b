/** Many blobs from several sources, some of which fail, hang, dawdle or lie: in simulated time. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { HoldfastError, Signal, sleep, toHex } from "../base/index.ts";
import type { Env } from "../base/index.ts";
import { nextTurn } from "../host/index.ts";
import { Simulator } from "../sim/index.ts";
import { hashOf, noise } from "./conformance.suite.ts";
import { BlobFetcher } from "./index.ts";
import type { BlobSource, FoundBlob, Hash, WantedBlob } from "./index.ts";

const contents = Array.from({ length: 3_000 }, (_, number) => noise(40 + (number % 50), number));
const wanted: readonly WantedBlob[] = contents.map((bytes) => ({ hash: hashOf(bytes), sizeHint: bytes.length }));
const byName = new Map(contents.map((bytes, index) => [toHex((wanted[index] as WantedBlob).hash), bytes]));

interface Manner {
  /** Before the first blob of each request, and before each. */
  readonly firstMs?: number;
  readonly eachMs?: number;
  readonly lacks?: (hash: Hash) => boolean;
  /** Called before each blob; may throw. */
  readonly before?: (givenCount: number) => void;
}

class Source implements BlobSource {
  readonly name: string;
  givenCount = 0;
  askedCount = 0;
  requestCount = 0;
  underWay = 0;
  underWayMax = 0;
  readonly #env: Env;
  readonly #manner: Manner;

  constructor(env: Env, name: string, manner: Manner = {}) {
    this.#env = env;
    this.name = name;
    this.#manner = manner;
  }

  async *get(hashes: readonly Hash[], options: { readonly signal?: AbortSignal } = {}): AsyncGenerator<FoundBlob> {
    const { firstMs = 1, eachMs = 0.01, lacks, before } = this.#manner;
    assert.ok(hashes.length <= 256);
    this.requestCount++;
    this.askedCount += hashes.length;
    this.underWayMax = Math.max(this.underWayMax, ++this.underWay);
    try {
      await sleep(this.#env.clock, firstMs, options.signal);
      for (const [index, hash] of hashes.entries()) {
        await sleep(this.#env.clock, eachMs, options.signal);
        before?.(this.givenCount);
        if (lacks?.(hash) === true) continue;
        this.givenCount++;
        yield { index, bytes: byName.get(toHex(hash)) as Uint8Array };
      }
    } finally {
      this.underWay--;
    }
  }
}

/** Wants everything of these sources; resolves when all has come, each blob once, or rejects as the fetcher fails. */
async function fetchAll(
  env: Env,
  sources: readonly BlobSource[],
  options: { signal?: AbortSignal; take?: () => Promise<void> } = {},
): Promise<void> {
  const taken = new Set<string>();
  const changed = new Signal();
  const fetcher = new BlobFetcher<WantedBlob>(env, sources, {
    async take({ hash }, bytes) {
      assert.deepEqual(hashOf(bytes), hash);
      assert.ok(!taken.has(toHex(hash)), "a blob was taken twice");
      taken.add(toHex(hash));
      await options.take?.();
    },
    changed: () => changed.notify(),
    signal: options.signal,
  });
  try {
    for (let begin = 0; begin < wanted.length; begin += 1_000) fetcher.want(wanted.slice(begin, begin + 1_000));
    while (!fetcher.idle && fetcher.failure === undefined) await changed.wait();
    if (fetcher.failure !== undefined) throw fetcher.failure;
    assert.equal(taken.size, wanted.length);
    assert.equal(fetcher.waitingCount, 0);
  } finally {
    await fetcher.close();
  }
}

function simulated(title: string, body: (env: Env, simulator: Simulator) => Promise<void>): void {
  test(title, async () => {
    const simulator = new Simulator({ seed: title, drain: nextTurn });
    await simulator.run(body(simulator.machine("a").env, simulator));
  });
}

const failing = (message: string, code: "unavailable" | "corrupt" = "unavailable") => new HoldfastError(code, message);

simulated("fast sources do most of the work, and each has few requests under way", async (env) => {
  const sources = [
    new Source(env, "fast"),
    new Source(env, "slow", { eachMs: 1, firstMs: 20 }),
    new Source(env, "fast too"),
  ];
  await fetchAll(env, sources);
  const [fast, slow, other] = sources.map(({ givenCount }) => givenCount) as [number, number, number];
  assert.ok(slow < fast / 2 && slow < other / 2, `${fast} ${slow} ${other}`);
  for (const { underWayMax } of sources) assert.ok(underWayMax <= 4);
});

simulated("a blob is found where it is, and nobody is asked for one again that it lacks", async (env) => {
  const sources = [0, 1, 2].map(
    (number) => new Source(env, `third ${number}`, { lacks: (hash) => (hash[0] as number) % 3 !== number }),
  );
  await fetchAll(env, sources);
  for (const { askedCount } of sources) assert.ok(askedCount <= wanted.length);
});

simulated("a blob that nobody has is not found", async (env) => {
  const absent = toHex((wanted[1_234] as WantedBlob).hash);
  const lacks = (hash: Hash) => toHex(hash) === absent;
  const sources = [new Source(env, "one", { lacks }), new Source(env, "two", { lacks })];
  await assert.rejects(fetchAll(env, sources), isError("notFound", new RegExp(`${absent}: none of the 2 sources`)));
  for (const { underWay } of sources) assert.equal(underWay, 0);
});

simulated("a source that fails now and then is used again; what it owed comes", async (env) => {
  let count = 0;
  const before = () => {
    if (++count % 700 === 0) throw failing("the connection broke");
  };
  const source = new Source(env, "shaky", { before });
  await fetchAll(env, [source]);
  assert.ok(count > 3_000);
});

simulated("a source that only fails is given up, and the others do it all", async (env) => {
  const bad = new Source(env, "bad", {
    before() {
      throw failing("no");
    },
  });
  const good = new Source(env, "good", { eachMs: 5 });
  await fetchAll(env, [bad, good]);
  assert.equal(bad.requestCount, 5);
  assert.equal(good.givenCount, 3_000);
  const alone = new Source(env, "alone", {
    before() {
      throw failing("broken for good");
    },
  });
  await assert.rejects(fetchAll(env, [alone]), isError("unavailable", /no source of blobs is left: broken for good/));
  await assert.rejects(fetchAll(env, []), isError("unavailable", /there is no source/));
});

simulated("a source that lies is not asked again", async (env) => {
  const liar = new Source(env, "liar", {
    before(givenCount) {
      if (givenCount > 100) throw failing("wrong bytes", "corrupt");
    },
  });
  const honest = new Source(env, "honest");
  await fetchAll(env, [liar, honest]);
  assert.ok(liar.requestCount <= 4);
  await assert.rejects(
    fetchAll(env, [
      new Source(env, "liar", {
        before: () => {
          throw failing("wrong bytes", "corrupt");
        },
      }),
    ]),
    isError("unavailable", /wrong bytes/),
  );
});

simulated("the only one that has a blob is given up: it is missing", async (env) => {
  const rare = (wanted[0] as WantedBlob).hash;
  const lacking = new Source(env, "lacking", { lacks: (hash) => toHex(hash) === toHex(rare) });
  const liar = new Source(env, "liar", {
    firstMs: 50,
    before() {
      throw failing("wrong bytes", "corrupt");
    },
  });
  await assert.rejects(fetchAll(env, [lacking, liar]), isError("notFound", /none of the 1 sources/));
});

simulated(
  "a source that hangs costs some seconds, and one that has something to give helps sooner",
  async (env, simulator) => {
    const hanging = new Source(env, "hanging", { firstMs: 3_600_000 });
    const good = new Source(env, "good");
    await fetchAll(env, [hanging, good]);
    assert.ok(simulator.nowMs < 2_000, `${simulator.nowMs} ms`);
    // Alone it is given up in the end.
    await assert.rejects(fetchAll(env, [hanging]), isError("unavailable", /nothing has come within 5000 ms/));
    assert.equal(hanging.underWay, 0);
  },
);

simulated("nobody waits for the last blobs of a slow source", async (env, simulator) => {
  const slow = new Source(env, "slow", { eachMs: 400 });
  await fetchAll(env, [slow, new Source(env, "good")]);
  assert.ok(simulator.nowMs < 3_000, `${simulator.nowMs} ms`);
  assert.equal(slow.underWay, 0);
});

simulated("an abort, and a failure to keep what came, end everything", async (env) => {
  const controller = new AbortController();
  const source = new Source(env, "slow", { eachMs: 10 });
  env.clock.schedule(100, () => controller.abort());
  await assert.rejects(fetchAll(env, [source], { signal: controller.signal }), isError("cancelled", /cancelled/));
  assert.equal(source.underWay, 0);
  await assert.rejects(fetchAll(env, [source], { signal: AbortSignal.abort() }), isError("cancelled", /cancelled/));
  let count = 0;
  const take = async () => {
    if (++count > 300) throw new HoldfastError("exhausted", "the disk is full");
  };
  await assert.rejects(fetchAll(env, [new Source(env, "good")], { take }), isError("exhausted", /full/));
});

function isError(code: string, message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof HoldfastError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  };
}
