/**
 * What the `file` commands take: `bucket:path` places, moments in the past (`--at`), and the secret of an encrypted bucket,
 * from a file, from `$HOLDFAST_PASSPHRASE`, or typed at the terminal.
 */
import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { HoldfastError } from "../base/index.ts";
import type { BucketSecret, Files, PastFiles } from "../file/index.ts";
import type { Store } from "../member/index.ts";
import { textOf, UsageError } from "./output.ts";
import type { TargetOptions } from "./target.ts";

export interface Place {
  readonly bucket: string;
  /** Empty: the top of the bucket. */
  readonly path: string;
}

/** `bucket:path`. `example` stands in the message when it is none. */
export function parsePlace(text: string, example = "photos:2026/a.jpg"): Place {
  const colon = text.indexOf(":");
  if (colon > 0) return { bucket: text.slice(0, colon), path: text.slice(colon + 1) };
  throw new UsageError(`"${text}" is no place in a store: write BUCKET:PATH, as in ${example}`);
}

/** The same; a bucket alone is its top. */
export function parseBucketPlace(text: string): Place {
  return text.includes(":") ? parsePlace(text) : { bucket: text, path: "" };
}

/** A place with a path. */
export function parseFilePlace(text: string): Place {
  const place = parsePlace(text);
  if (place.path !== "") return place;
  throw new UsageError(`"${text}" names no file: write BUCKET:PATH, as in photos:2026/a.jpg`);
}

export function placeText({ bucket, path }: Place): string {
  return `${bucket}:${path}`;
}

export interface AtOptions {
  readonly at?: string;
}

export function addAtOption(command: Command): Command {
  return command.option("--at <moment>", "as it was at this revision, or in the snapshot of this name");
}

/**
 * The revision that `--at` means: digits are a revision, anything else is the name of a snapshot. What may be either is
 * refused, since the two are hardly ever the same state.
 */
async function momentOf(store: Store, at: string): Promise<number> {
  const digits = /^(?:revision:)?(\d+)$/.exec(at)?.[1];
  const snapshot = digits === at || digits === undefined ? await store.snapshots.get(at) : undefined;
  if (digits !== undefined) {
    if (snapshot === undefined || snapshot.revision === Number(digits)) return Number(digits);
    const which = `--at ${snapshot.revision} is that snapshot, --at revision:${digits} the revision`;
    throw new UsageError(`"${at}" is a revision, and also the name of a snapshot: ${which}`);
  }
  if (snapshot !== undefined) return snapshot.revision;
  throw new HoldfastError(
    "notFound",
    `snapshot ${JSON.stringify(at)} does not exist; \`snapshot list\` names those that do`,
  );
}

export interface SecretOptions {
  readonly passphraseFile?: string;
  readonly keyFile?: string;
}

/** For commands that read or write the bytes of files. */
export function addSecretOptions(command: Command): Command {
  return command
    .option("--passphrase-file <file>", "its first line opens an encrypted bucket (else $HOLDFAST_PASSPHRASE)")
    .option("--key-file <file>", "its bytes open an encrypted bucket");
}

/** What the options say; undefined if they say nothing. `what` begins the names of the options: `--new-` for another one. */
export async function readSecret(options: SecretOptions, what = "--"): Promise<BucketSecret | undefined> {
  const { passphraseFile, keyFile } = options;
  if (passphraseFile !== undefined && keyFile !== undefined) {
    throw new UsageError(`give ${what}passphrase-file or ${what}key-file, not both`);
  }
  if (keyFile !== undefined) return { key: new Uint8Array(await read(keyFile)) };
  if (passphraseFile === undefined) return undefined;
  const text = textOf(await read(passphraseFile));
  const line = text?.split(/\r?\n/, 1)[0] ?? "";
  if (line !== "") return { passphrase: line };
  throw new HoldfastError(
    "invalid",
    `${passphraseFile} has no passphrase on its first line; a key goes with ${what}key-file`,
  );
}

async function read(file: string): Promise<Uint8Array> {
  try {
    return await readFile(file);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reason =
      code === "EISDIR"
        ? "it is a folder"
        : code === "ENOENT"
          ? "there is no such file"
          : message.replace(/^\w+: /, "");
    throw new HoldfastError(code === "EACCES" ? "denied" : "notFound", `cannot read ${file}: ${reason}`, {
      cause: error,
    });
  }
}

/**
 * The secret for a bucket. Whoever has set a passphrase believes that the bucket is encrypted: one that is not, perhaps since
 * somebody has made it anew, gets nothing in the clear, and nothing in it is taken for what they have put there.
 */
async function secretFor(store: Store, bucket: string, options: SecretOptions): Promise<BucketSecret | undefined> {
  const given = await readSecret(options);
  const passphrase = process.env["HOLDFAST_PASSPHRASE"];
  const fromEnvironment = passphrase !== undefined && passphrase !== "";
  if (given === undefined && !fromEnvironment && !canAsk()) return undefined;
  const info = await store.buckets.get(bucket);
  if (info === undefined) {
    if (given === undefined && !fromEnvironment) return undefined;
    const remedy = `\`holdfast file bucket create ${bucket} --passphrase-file FILE\` makes it`;
    throw new HoldfastError(
      "notFound",
      `bucket ${bucket} does not exist, so that nothing in it is encrypted: ${remedy}`,
    );
  }
  if (given === undefined && fromEnvironment && info.encryption === "none") {
    const remedy = "put HOLDFAST_PASSPHRASE= before the command if its files are to be in the clear";
    throw new HoldfastError(
      "invalid",
      `bucket ${bucket} is not encrypted, but $HOLDFAST_PASSPHRASE has a passphrase: ${remedy}`,
    );
  }
  if (given !== undefined || info.encryption !== "passphrase") return given;
  return { passphrase: fromEnvironment ? passphrase : await askPassphrase(`Passphrase of bucket ${bucket}: `) };
}

/** The files of a bucket, with what opens it. */
export async function openFiles(store: Store, bucket: string, options: SecretOptions): Promise<Files> {
  return store.files(bucket, await secretFor(store, bucket, options));
}

/** The files to be read, now or in the past, and always those of now. */
export async function openFilesAt(
  store: Store,
  bucket: string,
  options: SecretOptions & AtOptions,
): Promise<{ readonly files: PastFiles; readonly now: Files }> {
  const secret = await secretFor(store, bucket, options);
  const now = store.files(bucket, secret);
  if (options.at === undefined) return { files: now, now };
  return { files: store.at(await momentOf(store, options.at)).files(bucket, secret), now };
}

/** The same where no bytes are wanted, and so no secret. */
export async function namesAt(store: Store, bucket: string, { at }: AtOptions): Promise<PastFiles> {
  return at === undefined ? store.files(bucket) : store.at(await momentOf(store, at)).files(bucket);
}

/** `gone` at which moment, for messages. */
export function whenText({ at }: AtOptions): string {
  if (at === undefined) return "";
  const digits = /^(?:revision:)?(\d+)$/.exec(at)?.[1];
  return digits === undefined ? ` in snapshot ${at}` : ` at revision ${digits}`;
}

export function canAsk(): boolean {
  return process.stdin.isTTY && process.stderr.isTTY;
}

/** Asks at the terminal, without showing what is typed. Ctrl-C ends the command. */
export async function askPassphrase(prompt: string): Promise<string> {
  const { stdin, stderr } = process;
  // What is typed ahead is not to be seen either.
  stdin.setRawMode(true);
  stderr.write(prompt);
  stdin.setEncoding("utf8");
  let typed = "";
  try {
    for await (const text of stdin.iterator({ destroyOnReturn: false })) {
      for (const character of text as string) {
        if (character === "\r" || character === "\n" || character === "\u0004") return typed;
        if (character === "\u0003") throw new HoldfastError("cancelled", "no passphrase was given");
        typed =
          character === "\u007f" || character === "\b" ? Array.from(typed).slice(0, -1).join("") : typed + character;
      }
    }
    return typed;
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
    stderr.write("\n");
  }
}

export type FileCommandOptions = TargetOptions & SecretOptions & AtOptions;
