import { type MetadataStore, prefixRange } from './store.js';

const PAGE = 1000;

/** Tells of every key with the prefix, and of its changes from here on; value null for a deletion. Once may be twice. */
export async function follow(
  store: MetadataStore,
  prefix: string,
  onEntry: (key: string, value: Uint8Array | null) => void,
): Promise<void> {
  store.watch(prefix, (events) => {
    for (const { key, value } of events) onEntry(key, value);
  });
  const { from, to } = prefixRange(prefix);
  let start = from;
  for (;;) {
    const page = await store.range({ from: start, to, limit: PAGE });
    for (const { key, value } of page) onEntry(key, value);
    if (page.length < PAGE) return;
    start = `${page[page.length - 1]!.key} `;
  }
}
