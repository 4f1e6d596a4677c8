import { writeFileAtomic } from '../common/atomic-file.js';
import type { AccessRow } from '../s3-lite/index.js';

/** What clients of S3 take from their environment, in a file for a shell that only its owner reads. */
export async function writeS3Env(
  file: string,
  { keyId, secret }: AccessRow,
  more: Readonly<Record<string, string>> = {},
): Promise<void> {
  const values = { AWS_ACCESS_KEY_ID: keyId, AWS_SECRET_ACCESS_KEY: secret, ...more };
  const lines = Object.entries(values).map(([name, value]) => `export ${name}=${value}\n`);
  await writeFileAtomic(file, lines.join(''), 0o600);
}
