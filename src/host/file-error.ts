/** Paths as `node:fs` takes them, and its failures as `HoldfastError`s that name them. */
import { HoldfastError, pathBytes } from "../base/index.ts";
import type { ErrorCode } from "../base/index.ts";
import { diskError, systemCode } from "./disk-error.ts";

/** `action` is a verb. */
export function fileError(error: unknown, action: string, path: string): HoldfastError {
  const code = systemCode(error);
  if (code === "ERR_INVALID_ARG_VALUE" || code === "ERR_INVALID_ARG_TYPE" || code === "EINVAL") {
    const message = `cannot ${action} ${quoted(path)}: the file system does not take this name or value`;
    return new HoldfastError("invalid", message, { cause: error });
  }
  if (code === "ENOTEMPTY") {
    return new HoldfastError("exists", `cannot ${action} ${quoted(path)}: the folder is not empty (ENOTEMPTY)`);
  }
  return diskError(error, action, quoted(path));
}

/** Of opening with O_NOFOLLOW; `link` is the code when the path is a link. */
export function openError(error: unknown, path: string, link: ErrorCode): HoldfastError {
  // FreeBSD says EMLINK. The other meaning of ELOOP, a circle on the way, is as hopeless.
  if (systemCode(error) !== "ELOOP" && systemCode(error) !== "EMLINK") return fileError(error, "open", path);
  return new HoldfastError(link, `cannot open ${quoted(path)}: it is a symbolic link`, { cause: error });
}

/** Names may have any bytes: what a terminal would take for a command is not shown as it is. */
export function quoted(path: string): string {
  // oxlint-disable-next-line no-control-regex
  return /[\u0000-\u001f\u007f-\u009f\ud800-\udfff]/u.test(path) ? JSON.stringify(path) : path;
}

/** A path as `node:fs` takes it. */
export function placeOf(path: string): string | Buffer {
  return path.isWellFormed() ? path : Buffer.from(pathBytes(path));
}
