/** The file view beside its slow twin, here and behind a connection, with and without a cache that holds it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { TestContext } from "node:test";
import { HoldfastError } from "../../base/index.ts";
import { RpcClient, RpcServer } from "../../rpc/index.ts";
import { Prng } from "../../sim/index.ts";
import { Member, rootText, scale } from "../fixture.suite.ts";
import { commandService, FileKeeper, fileService, LocalFiles, RemoteFiles, RemoteProposer } from "../index.ts";
import type { FileSource, Replica, ReplicaOptions } from "../index.ts";
import { fileModelCampaign } from "./file-model.suite.ts";

async function open(t: TestContext, seed: string, options: ReplicaOptions = {}) {
  const member = new Member(seed);
  const replica = await member.open(options);
  t.after(() => replica.close());
  return { member, replica, local: new LocalFiles(member.env.clock, replica) };
}

/** Lists come in small batches, of which many fail on the way. */
function unreliable(source: FileSource, dice: Prng): FileSource {
  return new Proxy(source, {
    get(target, name) {
      if (name !== "list") return Reflect.get(target, name).bind(target) as unknown;
      return async function* list(...given: Parameters<FileSource["list"]>) {
        for await (const { revision, files } of target.list(...given)) {
          for (let index = 0; index < files.length; index += 2) {
            if (dice.chance(0.2)) throw new HoldfastError("unavailable", "this list breaks off");
            yield { revision, files: files.slice(index, index + 2) };
          }
        }
      };
    },
  });
}

async function connect(t: TestContext, member: Member, replica: Replica, local: LocalFiles): Promise<FileSource> {
  const { env, views } = member;
  const source = unreliable(local, new Prng("unreliable"));
  const server = new RpcServer(env, [fileService(source), commandService(replica, views.all)]);
  await server.listen("memory:files");
  const client = new RpcClient(env, "memory:files");
  t.after(async () => {
    await client.close();
    await server.close({ graceMs: 0 });
  });
  const options = { timeoutMs: 10_000 };
  return new RemoteFiles(env, client, new RemoteProposer(env, client, options), options);
}

const kinds: readonly { readonly name: string; readonly options: ReplicaOptions; readonly remote: boolean }[] = [
  { name: "all in memory", options: {}, remote: false },
  { name: "a cache of 4 KiB", options: { cacheSizeMax: 4_096, checkpointLogSizeMin: 20_000 }, remote: false },
  { name: "behind a connection", options: { cacheSizeMax: 16_384 }, remote: true },
];

for (const { name, options, remote } of kinds) {
  for (const seed of Array.from({ length: scale }, (_, index) => `files, ${name}, ${index}`)) {
    test(`500 random steps, ${name} (${seed})`, async (t) => {
      const { member, replica, local } = await open(t, seed, options);
      const source = remote ? await connect(t, member, replica, local) : local;
      const { env, views } = member;
      const pass = (ms: number) => (env.wall.offsetMs += ms);
      // A member that applies the same log, and has everything in memory, has the same root.
      const twin = await new Member(seed, member.log).open();
      t.after(() => twin.close());
      const model = await fileModelCampaign({ dice: new Prng(seed), steps: 500, replica, views, source, pass });
      assert.ok(model.revision > 150, "most commands changed something");
      await twin.linearize();
      assert.equal(await rootText(twin), await rootText(replica));
      // When all is past its time, the keeper leaves the files, the buckets, and nothing of old versions.
      pass(2e12);
      const keeper = new FileKeeper(env, replica, views.file);
      t.after(() => keeper.close());
      await replica.propose([member.put("time", "passes")]);
      await keeper.sweep();
      const fileCount = (await local.buckets({})).reduce((sum, bucket) => sum + bucket.fileCount, 0);
      const start = new Uint8Array([18]);
      const left = await replica.read((tree) => tree.count({ start, end: new Uint8Array([19]) }));
      const deletion = model.deletionRevision === 0 ? 0 : 1;
      assert.equal(left, fileCount + model.buckets.size + deletion);
    });
  }
}
