/** Certificates for tests: an authority and what it signs, valid for this machine only. */
// Fills in what the certificates' library expects of the language.
// oxlint-disable-next-line import/no-unassigned-import
import "reflect-metadata";
import { webcrypto } from "node:crypto";
import * as x509 from "@peculiar/x509";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const notBefore = new Date(Date.now() - 3_600_000);
const notAfter = new Date(Date.now() + 3_600_000);

export interface Authority {
  /** Its own certificate, PEM. */
  readonly ca: string;
  /** A certificate for `localhost` and the loopback addresses, with its key, both PEM. */
  issue(name: string): Promise<{ cert: string; key: string }>;
}

export async function makeAuthority(name: string): Promise<Authority> {
  x509.cryptoProvider.set(webcrypto);
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const authority = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    keys,
    notBefore,
    notAfter,
    signingAlgorithm: algorithm,
    extensions: [new x509.BasicConstraintsExtension(true, 1, true)],
  });
  let serial = 1;
  const issue = async (subject: string) => {
    const pair = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    serial += 1;
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: serial.toString(16).padStart(2, "0"),
      subject: `CN=${subject}`,
      issuer: authority.subject,
      publicKey: pair.publicKey,
      signingKey: keys.privateKey,
      signingAlgorithm: algorithm,
      notBefore,
      notAfter,
      extensions: [
        new x509.SubjectAlternativeNameExtension([
          { type: "dns", value: "localhost" },
          { type: "ip", value: "127.0.0.1" },
          { type: "ip", value: "::1" },
        ]),
      ],
    });
    const key = x509.PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", pair.privateKey), "PRIVATE KEY");
    return { cert: certificate.toString("pem"), key };
  };
  return { ca: authority.toString("pem"), issue };
}
