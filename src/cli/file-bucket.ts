/** `holdfast file bucket`: how the files of a bucket are cut, kept and encrypted. */
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import type { Bucket, BucketOptions, BucketSecret } from "../file/index.ts";
import type { Store } from "../member/index.ts";
import { bucketJson, bucketTable } from "./file-list.ts";
import { missingBucket } from "./file-missing.ts";
import { addSecretOptions, askPassphrase, canAsk, parseBucketPlace, readSecret } from "./file-place.ts";
import type { SecretOptions } from "./file-place.ts";
import { chunkSizeText, keepText, parseDuration, parseKept, parseSize } from "./file-text.ts";
import { countText, printJson, printLine, table, UsageError } from "./output.ts";
import { addTargetOptions, withStore } from "./target.ts";
import type { TargetOptions } from "./target.ts";

export function addBucket(parent: Command): void {
  const command = parent.command("bucket").description("make, change, list and delete buckets");
  addCreate(command);
  addSet(command);
  addListing(command);
  addDelete(command);
  addPassphrase(command);
  command.addHelpText(
    "after",
    `
Examples:
  $ holdfast file bucket create photos
  $ holdfast file bucket create diary --encrypt
  $ holdfast file bucket set photos --keep 30d
  $ holdfast file bucket list`,
  );
}

interface SettingOptions extends TargetOptions {
  readonly keep?: number;
  readonly keepCount?: number;
  readonly chunkMin?: number;
  readonly chunkAverage?: number;
  readonly chunkMax?: number;
  readonly compress?: boolean;
}

function addSettings(command: Command): Command {
  return command
    .option("--keep <duration>", "how long replaced and deleted versions stay: 12h, 7d, forever", parseDuration)
    .option("--keep-count <count>", "and at most so many of one file, or all", parseKept)
    .option("--chunk-min <size>", "bytes of a chunk at least, such as 128k", parseSize)
    .option("--chunk-average <size>", "on average", parseSize)
    .option("--chunk-max <size>", "at most", parseSize);
}

function settingsOf({ keep, keepCount, chunkMin, chunkAverage, chunkMax, compress }: SettingOptions): BucketOptions {
  return {
    keepMs: keep,
    keepCountMax: keepCount,
    chunkSizeMin: chunkMin,
    chunkSizeAverage: chunkAverage,
    chunkSizeMax: chunkMax,
    compress,
  };
}

function bucketName(text: string): string {
  const { bucket, path } = parseBucketPlace(text);
  if (path === "") return bucket;
  throw new UsageError(`"${text}" is a place in a bucket; name the bucket alone: ${bucket}`);
}

function addCreate(parent: Command): void {
  const command = addTargetOptions(parent.command("create").description("make a bucket"))
    .argument("<bucket>")
    .option("--encrypt", "encrypt it, and ask for the passphrase at the terminal")
    .option("--no-compress", "keep chunks as they are");
  addSecretOptions(addSettings(command))
    .addHelpText(
      "after",
      `
A bucket is encrypted when a passphrase or a key file is given: its files are encrypted before they leave this machine, and
nobody can read them who does not have it. When it is lost, they are. Names, sizes and times of files stay readable.

Examples:
  $ holdfast file bucket create photos --keep 30d
  $ holdfast file bucket create diary --encrypt
  $ head -c 32 /dev/urandom > diary.key && holdfast file bucket create diary --key-file diary.key`,
    )
    .action(async (text: string, options: SettingOptions & SecretOptions & { readonly encrypt?: boolean }) => {
      const name = bucketName(text);
      const secret = await newSecret(options, options.encrypt === true, "--");
      await withStore(options, async (store) => {
        const revision = await store.buckets.create(name, { ...settingsOf(options), ...secret });
        if (options.json) await printJson({ bucket: name, revision });
        else
          await printLine(`made ${name}${secret === undefined ? "" : ", encrypted"}; revision ${countText(revision)}`);
      });
    });
}

/** From a file, from the environment if it is wanted, or typed twice. Undefined if none is wanted. */
async function newSecret(options: SecretOptions, wanted: boolean, what: string): Promise<BucketSecret | undefined> {
  const given = await readSecret(options, what);
  if (given !== undefined || !wanted) return given;
  const passphrase = what === "--" ? process.env["HOLDFAST_PASSPHRASE"] : undefined;
  if (passphrase !== undefined && passphrase !== "") return { passphrase };
  if (!canAsk()) {
    throw new UsageError(`there is no terminal to ask at: give ${what}passphrase-file or ${what}key-file`);
  }
  const first = await askPassphrase("New passphrase: ");
  if (first === "") throw new HoldfastError("invalid", "a passphrase is not empty");
  if ((await askPassphrase("Again: ")) !== first) throw new HoldfastError("invalid", "the two are not the same");
  return { passphrase: first };
}

function addSet(parent: Command): void {
  addSettings(addTargetOptions(parent.command("set").description("change how a bucket's files are kept and cut")))
    .argument("<bucket>")
    .option("--compress", "compress chunks where that helps")
    .option("--no-compress", "keep chunks as they are")
    .addHelpText(
      "after",
      "\nFiles that are there stay as they were cut.\n\nExamples:\n  $ holdfast file bucket set photos --keep 30d --keep-count all",
    )
    .action(async (text: string, options: SettingOptions) => {
      const name = bucketName(text);
      const settings = settingsOf(options);
      if (Object.values(settings).every((value) => value === undefined)) {
        throw new UsageError(
          "say what to change: --keep, --keep-count, --chunk-min, --chunk-average, --chunk-max, --compress",
        );
      }
      await withStore(options, async (store) => {
        const revision = await store.buckets.set(name, settings);
        if (options.json) await printJson({ bucket: name, revision });
        else await printLine(`changed ${name}; revision ${countText(revision)}`);
      });
    });
}

function addListing(parent: Command): void {
  addTargetOptions(parent.command("list").description("the buckets; of one, all its settings"))
    .argument("[bucket]")
    .addHelpText("after", "\nExamples:\n  $ holdfast file bucket list\n  $ holdfast file bucket list photos")
    .action(async (text: string | undefined, options: TargetOptions) => {
      const name = text === undefined ? undefined : bucketName(text);
      await withStore(options, async (store) => {
        const buckets = name === undefined ? await store.buckets.list() : [await existing(store, name)];
        if (options.json) for (const bucket of buckets) await printJson(bucketJson(bucket));
        else if (name !== undefined) await printLine(buckets.map(settingsText).join("\n"));
        else if (buckets.length > 0) await printLine(bucketTable(buckets));
      });
    });
}

async function existing(store: Store, name: string): Promise<Bucket> {
  const bucket = await store.buckets.get(name);
  if (bucket !== undefined) return bucket;
  throw await missingBucket(store, name);
}

function settingsText(bucket: Bucket): string {
  const { chunkSizeMin, chunkSizeAverage, chunkSizeMax, keepMs, keepCountMax } = bucket;
  const count = keepCountMax === Infinity ? "any number" : `at most ${countText(keepCountMax)}`;
  return table([
    ["bucket", bucket.name],
    ["holds", bucket.fileCount === 1 ? "1 entry" : `${countText(bucket.fileCount)} entries`],
    ["old versions", keepMs === 0 || keepCountMax === 0 ? "not kept" : `kept ${keepText(keepMs)}, ${count} of a file`],
    [
      "readable",
      `from revision ${countText(bucket.historyRevision)}; made at revision ${countText(bucket.createRevision)}`,
    ],
    [
      "chunks",
      `${chunkSizeText(chunkSizeMin)} to ${chunkSizeText(chunkSizeMax)}, about ${chunkSizeText(chunkSizeAverage)}${bucket.compress ? "" : ", not compressed"}`,
    ],
    [
      "encryption",
      bucket.encryption === "none" ? "none" : `with a ${bucket.encryption === "key" ? "key file" : "passphrase"}`,
    ],
  ]);
}

function addDelete(parent: Command): void {
  addTargetOptions(parent.command("delete").description("delete an empty bucket, with its old versions"))
    .argument("<bucket>")
    .addHelpText(
      "after",
      "\n`holdfast file rm -r BUCKET:` empties one.\n\nExamples:\n  $ holdfast file bucket delete photos",
    )
    .action(async (text: string, options: TargetOptions) => {
      const name = bucketName(text);
      await withStore(options, async (store) => {
        const revision = await store.buckets
          .delete(name)
          .catch((error: unknown) => explainDeletion(store, name, error));
        if (options.json) await printJson({ deleted: name, revision });
        else await printLine(`deleted ${name}; revision ${countText(revision)}`);
      });
    });
}

async function explainDeletion(store: Store, name: string, error: unknown): Promise<never> {
  if (!(error instanceof HoldfastError)) throw error;
  if (error.code === "notFound") throw await missingBucket(store, name);
  if (error.code !== "conflict") throw error;
  const message = `${error.message}: \`holdfast file rm -r ${name}:\` does`;
  throw new HoldfastError("conflict", message, { maybe: error.maybe, cause: error });
}

interface PassphraseOptions extends TargetOptions, SecretOptions {
  readonly newPassphraseFile?: string;
  readonly newKeyFile?: string;
}

function addPassphrase(parent: Command): void {
  addSecretOptions(
    addTargetOptions(parent.command("passphrase").description("open an encrypted bucket with another secret")),
  )
    .argument("<bucket>")
    .option("--new-passphrase-file <file>", "the first line is the new passphrase")
    .option("--new-key-file <file>", "the bytes are the new key")
    .addHelpText(
      "after",
      `
What is stored stays as it is: whoever has read the bucket with the old secret may have kept what opens it.

Examples:
  $ holdfast file bucket passphrase diary
  $ holdfast file bucket passphrase diary --passphrase-file old.txt --new-key-file diary.key`,
    )
    .action(async (text: string, options: PassphraseOptions) => {
      const name = bucketName(text);
      await withStore(options, async (store) => {
        const { encryption } = await existing(store, name);
        if (encryption === "none") {
          throw new HoldfastError("invalid", `bucket ${name} is not encrypted; that is decided when a bucket is made`);
        }
        const from = await oldSecret(name, options, encryption);
        const { newPassphraseFile, newKeyFile } = options;
        const wanted = {
          ...(newPassphraseFile !== undefined && { passphraseFile: newPassphraseFile }),
          ...(newKeyFile !== undefined && { keyFile: newKeyFile }),
        };
        const to = (await newSecret(wanted, true, "--new-")) ?? {};
        const revision = await store.buckets.changeSecret(name, from, to);
        if (options.json) await printJson({ bucket: name, revision });
        else await printLine(`changed ${name}; revision ${countText(revision)}`);
      });
    });
}

async function oldSecret(name: string, options: SecretOptions, kind: "passphrase" | "key"): Promise<BucketSecret> {
  const given = await readSecret(options);
  if (given !== undefined) return given;
  if (kind === "key") throw new UsageError(`bucket ${name} is encrypted with a key file: give --key-file`);
  const passphrase = process.env["HOLDFAST_PASSPHRASE"];
  if (passphrase !== undefined && passphrase !== "") return { passphrase };
  if (!canAsk()) throw new UsageError(`bucket ${name} is encrypted with a passphrase: give --passphrase-file`);
  return { passphrase: await askPassphrase(`Passphrase of bucket ${name}: `) };
}
