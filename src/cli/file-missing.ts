/** What the `file` commands say of a place where they find nothing: that there is no such bucket, or only a folder. */
import { HoldfastError } from "../base/index.ts";
import type { PastFiles } from "../file/index.ts";
import type { Store } from "../member/index.ts";
import { placeText, whenText } from "./file-place.ts";
import type { AtOptions, Place } from "./file-place.ts";
import { pathForPeople } from "./file-text.ts";

/** Buckets that a message names. */
const namedCount = 8;

/** `files`: of the place's bucket, at the moment that was asked for. */
export async function missingError(
  store: Store,
  files: PastFiles,
  place: Place,
  options: AtOptions & { readonly revision?: number },
): Promise<HoldfastError> {
  const path = place.path.replace(/\/+$/, "");
  const where = pathForPeople(placeText({ bucket: place.bucket, path }));
  const when = whenText(options);
  if (options.at === undefined && (await store.buckets.get(place.bucket)) === undefined) {
    return missingBucket(store, place.bucket);
  }
  if (options.revision !== undefined) {
    const remedy = `\`holdfast file versions ${where}\` lists those that do`;
    return absent(`${where} has no version of revision ${options.revision}${when}; ${remedy}`);
  }
  for await (const _ of files.list({ prefix: `${path}/`, limit: 1 })) {
    return absent(
      `${where} is a folder without an entry of its own${when}; \`holdfast file ls ${where}\` lists what is in it`,
    );
  }
  return absent(`${where} does not exist${when}`);
}

function absent(message: string): HoldfastError {
  return new HoldfastError("notFound", message);
}

/** Names those that do exist. */
export async function missingBucket(store: Store, bucket: string): Promise<HoldfastError> {
  const names = (await store.buckets.list()).map(({ name }) => name);
  const more = names.length > namedCount ? `, and ${names.length - namedCount} more` : "";
  const others =
    names.length === 0
      ? "there is none yet, and the first file that is put makes one"
      : `there ${names.length === 1 ? "is" : "are"} ${names.slice(0, namedCount).join(", ")}${more}`;
  return absent(`bucket ${bucket} does not exist; ${others}`);
}
