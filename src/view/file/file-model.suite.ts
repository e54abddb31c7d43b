/**
 * The slow twin of the file view: every version of every file in a list, searched by going through all of it, whether it
 * is still kept or not. And the campaign that compares it with a source of files, here or elsewhere.
 */
import assert from "node:assert/strict";
import { HoldfastError } from "../../base/index.ts";
import type { Prng } from "../../sim/index.ts";
import { collect, hex, utf8 } from "../fixture.suite.ts";
import { defaultBucketSettings, operation } from "../index.ts";
import type { FileOperation, FileQuery, FileSource, ListedFile, Replica, Views } from "../index.ts";

interface ModelVersion {
  readonly bucket: string;
  readonly path: string;
  readonly text: string;
  readonly revision: number;
  readonly createRevision: number;
  readonly version: number;
  superseded: number | undefined;
  supersededMs: number;
  /** When among all supersedings. */
  order: number;
  kept: boolean;
}

interface ModelBucket {
  keepMs: number;
  keepCountMax: number;
  encryption: string;
  readonly createRevision: number;
  historyRevision: number;
}

class Refused extends Error {
  readonly code: string;

  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

export interface ModelQuery {
  readonly bucket: string;
  readonly prefix: string;
  readonly start?: string | undefined;
  readonly folders?: boolean | undefined;
  readonly limit?: number | undefined;
  readonly reverse?: boolean | undefined;
}

// Paths of the campaign are ASCII, whose order is that of their bytes.
const byPath = (a: { readonly path: string }, b: { readonly path: string }) => (a.path < b.path ? -1 : 1);

export class FileModel {
  versions: ModelVersion[] = [];
  buckets = new Map<string, ModelBucket>();
  deletionRevision = 0;
  revision = 0;
  #timeMs = 0;
  #order = 0;
  #changed = false;

  /** All of it at one revision, or nothing; answers the code of a refusal. */
  command(timeMs: number, body: () => void): string | undefined {
    const before = structuredClone({ versions: this.versions, buckets: this.buckets, deleted: this.deletionRevision });
    this.#timeMs = timeMs;
    this.#changed = false;
    try {
      body();
      if (this.#changed) this.revision++;
      return undefined;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.versions = before.versions;
      this.buckets = before.buckets;
      this.deletionRevision = before.deleted;
      return error.code;
    }
  }

  /** What was there at a revision, whether or not it can still be read; undefined: what is there. */
  files(bucket: string, at?: number): ModelVersion[] {
    return this.versions
      .filter((one) => {
        if (one.bucket !== bucket) return false;
        if (at === undefined) return one.superseded === undefined;
        return one.revision <= at && (one.superseded === undefined || one.superseded > at);
      })
      .toSorted(byPath);
  }

  file(bucket: string, path: string, at?: number): ModelVersion | undefined {
    return this.files(bucket, at).find((one) => one.path === path);
  }

  history(bucket: string): number {
    return this.buckets.get(bucket)?.historyRevision ?? this.deletionRevision;
  }

  keptVersions(bucket: string, path: string): ModelVersion[] {
    const made = this.buckets.get(bucket)?.createRevision ?? Number.POSITIVE_INFINITY;
    return this.versions
      .filter((one) => one.bucket === bucket && one.path === path && one.kept && (one.superseded ?? Infinity) > made)
      .toSorted((a, b) => a.revision - b.revision);
  }

  list(query: ModelQuery, at?: number): { path: string; version: ModelVersion | undefined }[] {
    const { prefix, start, folders = false, limit = Number.POSITIVE_INFINITY, reverse = false } = query;
    const listed: { path: string; version: ModelVersion | undefined }[] = [];
    for (const version of this.files(query.bucket, at)) {
      const { path } = version;
      if (!path.startsWith(prefix)) continue;
      if (start !== undefined && (reverse ? path >= start : path < start)) continue;
      const slash = path.indexOf("/", prefix.length);
      if (!folders || slash < 0) listed.push({ path, version });
      else if (listed.at(-1)?.path !== path.slice(0, slash + 1)) {
        listed.push({ path: path.slice(0, slash + 1), version: undefined });
      }
    }
    return (reverse ? listed.toReversed() : listed).slice(0, limit);
  }

  #bucketForPut(name: string): ModelBucket {
    const { keepMs, keepCountMax } = defaultBucketSettings;
    if (!this.buckets.has(name)) this.setBucket(name, { keepMs, keepCountMax, encryption: "" }, false);
    return this.buckets.get(name) as ModelBucket;
  }

  setBucket(
    name: string,
    settings: Pick<ModelBucket, "keepMs" | "keepCountMax" | "encryption">,
    mustBeNew: boolean,
  ): void {
    const before = this.buckets.get(name);
    if (before === undefined) {
      const createRevision = this.revision + 1;
      this.buckets.set(name, { ...settings, createRevision, historyRevision: this.deletionRevision });
    } else {
      if (mustBeNew) throw new Refused("exists");
      if ((before.encryption === "") !== (settings.encryption === "")) throw new Refused("invalid");
      Object.assign(before, settings);
    }
    this.#changed = true;
  }

  deleteBucket(name: string): void {
    if (!this.buckets.has(name)) throw new Refused("notFound");
    if (this.files(name).length > 0) throw new Refused("conflict");
    this.buckets.delete(name);
    this.deletionRevision = this.revision + 1;
    this.#changed = true;
  }

  #drop(version: ModelVersion): void {
    version.kept = false;
    const bucket = this.buckets.get(version.bucket);
    const superseded = version.superseded ?? 0;
    if (bucket === undefined || superseded <= bucket.createRevision) return;
    bucket.historyRevision = Math.max(bucket.historyRevision, superseded);
  }

  #supersede(version: ModelVersion): void {
    if (version.revision === this.revision + 1) throw new Refused("invalid");
    const { keepMs, keepCountMax } = this.buckets.get(version.bucket) as ModelBucket;
    version.superseded = this.revision + 1;
    version.supersededMs = this.#timeMs;
    version.order = this.#order++;
    this.#changed = true;
    if (keepMs === 0 || keepCountMax === 0) {
      version.kept = false;
      const bucket = this.buckets.get(version.bucket) as ModelBucket;
      bucket.historyRevision = Math.max(bucket.historyRevision, version.superseded);
      return;
    }
    const old = this.keptVersions(version.bucket, version.path).filter((one) => one.superseded !== undefined);
    for (const one of old.slice(0, Math.max(0, old.length - keepCountMax))) this.#drop(one);
  }

  #condition(bucket: string, path: string, ifRevision: number | undefined): void {
    if (ifRevision !== undefined && (this.file(bucket, path)?.revision ?? 0) !== ifRevision)
      throw new Refused("conflict");
  }

  put(bucket: string, path: string, text: string, ifRevision?: number): void {
    this.#condition(bucket, path, ifRevision);
    this.#bucketForPut(bucket);
    const before = this.file(bucket, path);
    if (before !== undefined) this.#supersede(before);
    const revision = this.revision + 1;
    const { createRevision = revision, version = 0 } = before ?? {};
    const written = { bucket, path, text, revision, createRevision, version: version + 1 };
    this.versions.push({ ...written, superseded: undefined, supersededMs: 0, order: 0, kept: true });
    this.#changed = true;
  }

  delete(bucket: string, path: string, prefix: boolean, ifRevision?: number): number {
    if (!prefix) this.#condition(bucket, path, ifRevision);
    const doomed = this.files(bucket).filter((one) => (prefix ? one.path.startsWith(path) : one.path === path));
    for (const one of doomed) this.#supersede(one);
    return doomed.length;
  }

  copy(copy: ModelCopy): number {
    const { fromBucket, from, toBucket, to, move, folder, fromRevision, ifRevision } = copy;
    const source = this.buckets.get(fromBucket);
    if (move && fromBucket === toBucket && from === to) throw new Refused("invalid");
    if (source === undefined) throw new Refused("notFound");
    if (source.encryption !== (this.buckets.get(toBucket)?.encryption ?? "")) throw new Refused("invalid");
    const all = this.files(fromBucket);
    let sources = all.filter((one) => one.path === from);
    if (folder) sources.push(...all.filter((one) => one.path.startsWith(`${from}/`)));
    if (fromRevision !== 0) {
      sources = this.keptVersions(fromBucket, from).filter(({ revision }) => revision === fromRevision);
    }
    if (sources.length === 0) throw new Refused("notFound");
    if (!folder) this.#condition(toBucket, to, ifRevision);
    const targets = sources.map(({ path }) => to + path.slice(from.length));
    for (const [index, { text }] of sources.entries()) this.put(toBucket, targets[index] as string, text);
    if (move) {
      const left = sources.filter(({ path }) => fromBucket !== toBucket || !targets.includes(path));
      for (const one of left) this.#supersede(one);
    }
    return sources.length;
  }

  check(bucket: string, prefix: string, count: number, revision: number): void {
    const files = this.files(bucket).filter(({ path }) => path.startsWith(prefix));
    if (files.length !== count || files.some((one) => one.revision > revision)) throw new Refused("conflict");
  }

  sweep(name: string, limit: number): number {
    const bucket = this.buckets.get(name);
    const old = this.versions
      .filter((one) => one.bucket === name && one.kept && one.superseded !== undefined)
      .toSorted((a, b) => a.order - b.order);
    let count = 0;
    for (const one of old) {
      const isOwn = bucket !== undefined && (one.superseded as number) > bucket.createRevision;
      const isYoung = isOwn && bucket.keepCountMax > 0 && one.supersededMs + bucket.keepMs > this.#timeMs;
      if (count >= limit || isYoung) break;
      this.#drop(one);
      count++;
    }
    return count;
  }
}

interface ModelCopy {
  readonly fromBucket: string;
  readonly from: string;
  readonly toBucket: string;
  readonly to: string;
  readonly move: boolean;
  readonly folder: boolean;
  readonly fromRevision: number;
  readonly ifRevision: number | undefined;
}

type Body = NonNullable<FileOperation["operation"]>;
interface Twin {
  readonly body: Body;
  readonly model: (model: FileModel) => number | void;
}

const buckets = ["a", "b", "c.d"];
const paths = ["x", "y", "d", "d/x", "d/y", "d-e", "d/e/x", "d/e/y", "d/f", "d0", "e/x", "e/e/x", "z/"];

/** A random operation and what the twin does for it. */
function randomOperation(dice: Prng, model: FileModel): Twin {
  const bucket = dice.pick(buckets);
  const path = dice.pick(paths);
  const kind = dice.below(24);
  const revision = model.file(bucket, path)?.revision ?? 0;
  const ifRevision = dice.chance(0.2) ? (dice.chance(0.7) ? revision : dice.below(model.revision + 2)) : undefined;
  if (kind === 0) return bucketOperation(dice, bucket);
  if (kind === 1) {
    return { body: { case: "deleteBucket", value: { bucket } }, model: (twin) => twin.deleteBucket(bucket) };
  }
  if (kind < 7) {
    const prefix = kind === 6;
    const which = prefix ? dice.pick(["d/", "d", "e", "", "d/e/"]) : path;
    const value = { bucket, path: utf8(which), prefix, ifRevision: prefix ? undefined : ifRevision };
    return { body: { case: "delete", value }, model: (twin) => twin.delete(bucket, which, prefix, ifRevision) };
  }
  if (kind < 11) return copyOperation(dice, model, ifRevision);
  if (kind === 11) return checkOperation(dice, model, bucket);
  if (kind === 12) {
    const limit = dice.below(8);
    return { body: { case: "sweep", value: { bucket, limit } }, model: (twin) => twin.sweep(bucket, limit) };
  }
  const text = dice.bytes(dice.below(6)).join(" ");
  const content = { size: text.length, inline: utf8(text), contentType: "text/plain", mode: 0o644 };
  const value = { bucket, path: utf8(path), content, ifRevision };
  return { body: { case: "put", value }, model: (twin) => twin.put(bucket, path, text, ifRevision) };
}

function bucketOperation(dice: Prng, bucket: string): Twin {
  const encryption = dice.chance(0.2) ? "secret" : "";
  const settings = { keepMs: dice.pick([0, 40_000, 1e12]), keepCountMax: dice.pick([0, 1, 3, 100]), encryption };
  const mustBeNew = dice.chance(0.3);
  const value = { bucket, settings: { ...settings, encryption: utf8(encryption) }, mustBeNew };
  return { body: { case: "setBucket", value }, model: (twin) => twin.setBucket(bucket, settings, mustBeNew) };
}

function copyOperation(dice: Prng, model: FileModel, ifRevision: number | undefined): Twin {
  const [folder, move] = [dice.chance(0.4), dice.chance(0.5)];
  const fromBucket = dice.pick(buckets);
  const from = folder ? dice.pick(["d", "e", "d/e", "x"]) : dice.pick(paths);
  const known = model.versions.filter((one) => one.bucket === fromBucket && one.path === from);
  const old = known.length > 0 ? dice.pick(known).revision : dice.below(model.revision + 1);
  const copy = {
    fromBucket,
    from,
    toBucket: dice.chance(0.6) ? fromBucket : dice.pick(buckets),
    to: folder ? dice.pick(["d", "e", "d/e", "g"]) : dice.pick(paths),
    move,
    folder,
    fromRevision: !folder && !move && dice.chance(0.6) ? old : 0,
    ifRevision: folder ? undefined : ifRevision,
  };
  const value = { ...copy, from: utf8(copy.from), to: utf8(copy.to) };
  return { body: { case: "copy", value }, model: (twin) => twin.copy(copy) };
}

function checkOperation(dice: Prng, model: FileModel, bucket: string): Twin {
  const prefix = dice.pick(["", "d", "d/", "e/"]);
  const count = model.list({ bucket, prefix }).length + (dice.chance(0.2) ? 1 : 0);
  const revision = model.revision - (dice.chance(0.3) ? dice.below(4) : 0);
  const value = { prefixes: [{ bucket, prefix: utf8(prefix), count, revision: Math.max(0, revision) }] };
  return {
    body: { case: "check", value },
    model: (twin) => twin.check(bucket, prefix, count, Math.max(0, revision)),
  };
}

export function shape({ path, file }: ListedFile): string {
  const name = new TextDecoder().decode(path);
  if (file === undefined) return `${name}*`;
  const text = new TextDecoder().decode(file.content.inline);
  return `${name}@${file.revision},${file.createRevision},${file.version}=${text}`;
}

function modelShape({ path, version }: { readonly path: string; readonly version: ModelVersion | undefined }): string {
  if (version === undefined) return `${path}*`;
  return `${path}@${version.revision},${version.createRevision},${version.version}=${version.text}`;
}

/** What a read answers, or the code that it fails with. */
async function answer(read: Promise<readonly string[]>): Promise<readonly string[] | string> {
  try {
    return await read;
  } catch (error) {
    if (error instanceof HoldfastError) return error.code;
    throw error;
  }
}

export async function listed(source: FileSource, query: FileQuery): Promise<string[]> {
  const batches = await collect(source.list(query, { consistency: "local" }));
  return batches.flatMap(({ files }) => files.map(shape));
}

function randomQuery(dice: Prng): ModelQuery {
  const folders = dice.chance(0.3);
  return {
    bucket: dice.pick(buckets),
    prefix: dice.pick(["", "", "d", "d/", "d/e", "z", "nothing"]),
    start: dice.chance(0.3) ? dice.pick([...paths, "d/\0", "d\0", "d/e"]) : undefined,
    folders,
    limit: dice.chance(0.3) ? dice.below(6) : undefined,
    reverse: !folders && dice.chance(0.4),
  };
}

async function compareLists(dice: Prng, model: FileModel, source: FileSource, what: string): Promise<void> {
  const query = randomQuery(dice);
  const at = dice.chance(0.8) ? dice.below(model.revision + 2) : undefined;
  const wanted = { ...query, prefix: utf8(query.prefix), at };
  const found = await answer(
    listed(source, { ...wanted, start: query.start === undefined ? undefined : utf8(query.start) }),
  );
  const isTrimmed = at !== undefined && at < model.history(query.bucket) && at !== model.revision;
  const expected = model.list(query, at).map(modelShape);
  const outcome = at !== undefined && at > model.revision ? "invalid" : isTrimmed ? "trimmed" : expected;
  assert.deepEqual(found, outcome, `${what}: ${JSON.stringify(query)} at ${at} of ${model.revision}`);
}

async function compareFiles(dice: Prng, model: FileModel, source: FileSource, what: string): Promise<void> {
  const [bucket, path] = [dice.pick(buckets), dice.pick(paths)];
  const at = dice.below(model.revision + 1);
  const read = source.get(bucket, utf8(path), at, { consistency: "local" });
  const found = await answer(read.then((file) => (file === undefined ? [] : [shape({ path: utf8(path), file })])));
  const version = model.file(bucket, path, at);
  const expected = version === undefined ? [] : [modelShape({ path, version })];
  const isTrimmed = at < model.history(bucket) && at !== model.revision;
  assert.deepEqual(found, isTrimmed ? "trimmed" : expected, `${what}: ${bucket}:${path} at ${at}`);
  const versions = await source.versions(bucket, utf8(path), { consistency: "local" });
  assert.deepEqual(
    versions.map(({ file, supersededRevision }) => `${shape({ path: utf8(path), file })} ${supersededRevision}`),
    model.keptVersions(bucket, path).map((one) => `${modelShape({ path, version: one })} ${one.superseded}`),
    what,
  );
}

async function compareBuckets(model: FileModel, source: FileSource, what: string): Promise<void> {
  const found = await source.buckets({ consistency: "local" });
  const plain = found.map(({ name, settings, ...rest }) => ({ name, encryption: hex(settings.encryption), ...rest }));
  const expected = [...model.buckets].map(([name, { encryption, createRevision, historyRevision }]) => {
    const fileCount = model.files(name).length;
    return { name, encryption: hex(utf8(encryption)), createRevision, fileCount, historyRevision };
  });
  assert.deepEqual(
    plain,
    expected.toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    what,
  );
}

export interface FileCampaign {
  readonly dice: Prng;
  readonly steps: number;
  readonly replica: Replica;
  readonly views: Views;
  readonly source: FileSource;
  /** Moves the wall clock ahead. */
  readonly pass: (ms: number) => void;
}

export async function fileModelCampaign(campaign: FileCampaign): Promise<FileModel> {
  const { dice, steps, replica, views, source, pass } = campaign;
  const model = new FileModel();
  const refusals = new Set<string>();
  for (let step = 0; step < steps; step++) {
    const what = `step ${step}`;
    if (dice.chance(0.05)) pass(dice.below(60_000));
    const twins = Array.from({ length: 1 + dice.below(3) }, () => randomOperation(dice, model));
    const outcome = await source.propose(twins.map(({ body }) => operation(views.file, { operation: body })));
    const expected: (number | undefined)[] = [];
    const code = model.command(replica.timeMs, () => {
      for (const twin of twins) expected.push(twin.model(model) ?? undefined);
    });
    if (!outcome.ok) {
      refusals.add(outcome.code);
      assert.equal(outcome.code, code, `${what}: ${outcome.message} ${JSON.stringify(twins)}`);
    } else {
      assert.equal(undefined, code, `${what}: ${JSON.stringify(twins)}`);
      assert.equal(outcome.revision, model.revision, what);
      const counts = outcome.results.map(
        (one) => (one as { result: { value: { count?: number } } }).result.value.count,
      );
      assert.deepEqual(counts, expected, what);
    }
    await compareLists(dice, model, source, what);
    await compareFiles(dice, model, source, what);
    if (step % 16 === 0) await compareBuckets(model, source, what);
  }
  assert.deepEqual([...refusals].toSorted(), ["conflict", "exists", "invalid", "notFound"]);
  return model;
}
