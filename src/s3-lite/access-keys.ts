import { randomBytes } from 'node:crypto';
import type { CatalogClient } from '../client/index.js';
import { RawstorError } from '../common/errors.js';
import { prefixEnd } from '../common/prefix-end.js';
import { ROW } from './names.js';
import { type AccessRow, RIGHTS, type Right } from './rows.js';

/** How long a key that was removed elsewhere may still be good here. */
const KNOWN_MS = 2000;
const KNOWN_MAX = 1000;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';

/** Access keys, kept at the MDS. */
export class AccessKeys {
  private readonly catalog: CatalogClient;
  private readonly known = new Map<string, { row: AccessRow | null; untilMs: number }>();

  constructor(catalog: CatalogClient) {
    this.catalog = catalog;
  }

  /** @returns null where there is none */
  async find(keyId: string, nowMs: number): Promise<AccessRow | null> {
    if (!/^[A-Za-z0-9]{16,128}$/.test(keyId)) return null;
    const known = this.known.get(keyId);
    if (known !== undefined && known.untilMs > nowMs) return known.row;
    const row = (await this.catalog.get<AccessRow>(ROW.access(keyId)))?.value ?? null;
    if (this.known.size >= KNOWN_MAX) this.known.clear();
    this.known.set(keyId, { row, untilMs: nowMs + KNOWN_MS });
    return row;
  }

  async create(name: string, rights: Readonly<Record<string, Right>>, nowMs: number): Promise<AccessRow> {
    const letters = Array.from(randomBytes(18), (byte) => ALPHABET[byte % 32]);
    const keyId = `RS${letters.join('')}`;
    const secret = randomBytes(30).toString('base64url');
    const row: AccessRow = { keyId, secret, name, createdMs: nowMs, rights };
    const key = ROW.access(keyId);
    const failed = await this.catalog.transact({
      checks: [{ key, version: 0 }],
      puts: [{ key, value: row }],
    });
    if (failed !== null) throw new RawstorError('EXISTS', 'that access key exists already');
    return row;
  }

  async list(): Promise<AccessRow[]> {
    const found: AccessRow[] = [];
    const all = this.catalog.all<AccessRow>(ROW.accesses, prefixEnd(ROW.accesses));
    for await (const { value } of all) found.push(value);
    return found;
  }

  /** @throws RawstorError NOT_FOUND */
  async remove(keyId: string): Promise<void> {
    const key = ROW.access(keyId);
    const row = /^[A-Za-z0-9]{16,128}$/.test(keyId) ? await this.catalog.get<AccessRow>(key) : null;
    if (row === null) {
      throw new RawstorError('NOT_FOUND', `there is no access key '${keyId}'`, {
        hint: '`rawstor s3 key ls` lists them',
      });
    }
    await this.catalog.transact({ deletes: [key] });
  }
}

export function mayDo({ rights }: AccessRow, bucket: string, wanted: Right): boolean {
  const right = Object.hasOwn(rights, bucket) ? rights[bucket] : rights['*'];
  return right !== undefined && RIGHTS.indexOf(right) >= RIGHTS.indexOf(wanted);
}
