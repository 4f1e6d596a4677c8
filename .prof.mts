import { createIo } from '/tmp/wt/scrub/src/io/index.ts';
import { startOst } from '/tmp/wt/scrub/src/ost/index.ts';
import { systemClock } from '/tmp/wt/scrub/src/common/clock.ts';
import { silentLogger } from '/tmp/wt/scrub/src/common/log.ts';
import { ChunkOp, Opcode } from '/tmp/wt/scrub/src/protocol/index.ts';
import { mkdtempSync, rmSync } from 'node:fs';
const MiB = 1<<20;
const io = createIo({ poolBytes: 256*MiB });
const SIZE = 512*MiB;
const id='01900000-0000-7000-8000-000000000001';
const record:any={id,name:'v',mode:'mutable',sizeBytes:SIZE,chunkSizeBytes:1024*MiB,replicas:1,minReplicas:1,stripeWidth:1,failureDomain:'host',onDegraded:'pause',headVersion:1,map:{rule:'fixed',pool:[],nearDomain:'',exceptions:[]},epoch:1,lastSeal:0,members:[],createdWallMs:0};
async function subject(checksums:boolean){
  const dir=mkdtempSync('/tmp/wt/scrub/.cache-cost-');
  const ost=await startOst({dir,listen:[`unix:${dir}/s`],io,clock:systemClock,log:silentLogger,tuning:{checksums,scrubBytesPerSec:0,sumDelayMs:checksums?1e9:1e9}});
  const peer=await ost.connector.connect(ost.ostId,[],1000);
  const {handle}=await peer.call('ost.attach',{object:record,sessionEpoch:2,sessionNumber:1} as any);
  const self={dir,ost,peer,handle,tag:2,
   run(opcode:number,len:number,seq:boolean,count:number,depth:number){ return new Promise<{us:number,cpu:number}>((resolve)=>{
     let left=count,out=0,at=0; const t0=process.hrtime.bigint(),c0=process.cpuUsage();
     const go=(op:ChunkOp)=>{ op.offset=seq?(at=(at+len)%SIZE):Math.floor(Math.random()*(SIZE/len))*len; op.tag=self.tag; peer.submit(op); };
     for(let i=0;i<depth;i++){ const b=io.pool.acquire(len)!; const op=new ChunkOp({chunkDone(o){ if(o.status!==0) throw new Error('status '+o.status); if(--left>=depth) go(op); else { b.release(); if(++out===depth){ const c=process.cpuUsage(c0); resolve({us:Number(process.hrtime.bigint()-t0)/1000/count,cpu:(c.user+c.system)/count}); } } }});
       op.opcode=opcode;op.handle=handle;op.sessionEpoch=2;op.sessionNumber=1;op.chunk=0;op.length=len; b.memory.bytes.fill(i+1,b.offset,b.offset+len); op.slices.add(b.memory,b.offset,len); go(op);} });},
   flush(){return new Promise<void>(r=>{const op=new ChunkOp({chunkDone(){r()}});op.opcode=Opcode.FLUSH;op.handle=handle;op.sessionEpoch=2;op.sessionNumber=1;peer.submit(op);})},
   async seal(){ await self.flush(); await new Promise(r=>setTimeout(r,400)); await peer.call('ost.storeSet',{handle,set:{epoch:self.tag+1,members:[]},lastSeal:self.tag} as any); self.tag++; },
   async sum(){ await peer.call('ost.scrub',{objectId:null,bytesPerSec:4096*MiB}); for(;;){const {job}=await peer.call('ost.scrubStatus',{}) as any; if(!job.running) {return job;} await new Promise(r=>setTimeout(r,20));} },
  }; return self;
}
const subs=[await subject(true)];
for(const s of subs){ await s.run(Opcode.WRITE,MiB,true,SIZE/MiB+8,8); await s.seal(); await s.run(Opcode.READ,MiB,true,512,8);}
const t=process.cpuUsage(); const w=Date.now();
console.log('sum', JSON.stringify(await subs[0]!.sum()));
const job=await subs[0]!.sum();
const u=process.cpuUsage(t); console.log('sum+check', JSON.stringify(job), 'cpu ms', (u.user+u.system)/1000, 'wall', Date.now()-w);
const med=(a:number[])=>a.sort((x,y)=>x-y)[a.length>>1]!.toFixed(2);
for(let i=0;i<6;i++){ const x=await subs[0]!.run(Opcode.READ,4096,false,150000,32); console.log(x); }
await subs[0]!.ost.close(); rmSync(subs[0]!.dir,{recursive:true}); await io.close(); process.exit(0);
