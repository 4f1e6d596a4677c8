/** What an open volume says of itself. */
export interface MemberStatus {
  readonly ostId: string;
  readonly state: 'in-sync' | 'resyncing' | 'stale';
  readonly attached: boolean;
  readonly regionsTotal: number;
  readonly regionsDone: number;
}

export interface VolumeStatus {
  readonly epoch: number;
  readonly unreconciledRegions: number;
  readonly unsealedBytes: number;
  readonly members: MemberStatus[];
  /** Blocks with a wrong checksum on some replica that were repaired from another, since the open. */
  readonly repairedBlocks: number;
  /** Those that no other replica could give. */
  readonly damagedBlocks: number;
}
