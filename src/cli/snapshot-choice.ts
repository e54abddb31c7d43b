/** What the `snapshot` commands share: which part of a state is meant, and how a snapshot is shown. */
import type { Command } from "commander";
import type { Snapshot } from "../member/index.ts";
import { parseBucketPlace } from "./file-place.ts";
import { preciseTimeText } from "./file-text.ts";
import { countText, lineForPeople } from "./output.ts";

export interface ChoiceOptions {
  readonly keys?: string;
  readonly files?: string;
}

/** `--keys` and `--files`, for what is compared and restored. */
export function addChoiceOptions(command: Command): Command {
  return command
    .option("--keys <prefix>", "only keys that start with this ('' for all)")
    .option("--files <place>", "only files: of a BUCKET, or BUCKET:PATH for those whose paths start with this");
}

/** What the two options choose; with neither, everything. */
export function choiceOf({ keys, files }: ChoiceOptions) {
  const place = files === undefined ? undefined : parseBucketPlace(files);
  return { keys, files: place === undefined ? undefined : { bucket: place.bucket, prefix: place.path } };
}

export function snapshotRow({
  name,
  revision,
  timeMs,
}: Pick<Snapshot, "name" | "timeMs"> & { readonly revision: number }): string[] {
  return [lineForPeople(Buffer.from(name)), `revision ${countText(revision)}`, preciseTimeText(timeMs)];
}
