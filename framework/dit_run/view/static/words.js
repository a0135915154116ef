// The texts of the page, in each language, with the same keys.

const WORDS = {
  en: {
    about: "About", all_prompts: "All prompts", all_states: "All states", averaged: "averaged weights", best: "Best",
    best_loss: "Best validation loss", best_saved: "Best checkpoint saved", cancel: "Cancel", check: "Contact sheet of dit-run check",
    check_none: "No contact sheet yet. Write one with", checkpoint: "Checkpoint",
    compare: "Compare", compare_hint: "Choose two or more runs to compare.", compare_title: "Comparison",
    config: "Config", config_differences: "Config differences", continued: "Continued", copied: "Copied",
    csv: "CSV", curves: "Curves", dark: "Dark", default: "default", device: "Device", differs_none: "The configs do not differ.",
    does_not_matter: "does not change what is learnt", download: "Download", empty_metrics: "Nothing is logged yet.",
    empty_runs: "No runs yet in", empty_samples: "No samples yet. sampling.every_n_steps decides when they are made.",
    events: "Events", failed: "failed", failure: "Failed, and the run continued", filter: "Filter runs", filter_keys: "Filter keys", finished: "finished",
    first_step: "First step", folder: "Folder", forked: "Forked from", from: "From", generate: "Generate", gradient_norm: "Gradient norm",
    grid: "Whole grid (PNG)", group: "Group by folder", guidance: "Guidance", held_out: "held-out", height: "Height", idle: "Idle: memory is released.",
    images_per_second: "Images per second", interrupted: "interrupted", killed: "killed", language: "中文", later_step: "Later step",
    learning_rate: "Learning rate", least_noise: "least noise", light: "Light", live: "live weights", log_x: "Log x", log_y: "Log y", loss: "Training loss",
    loss_parts: "Training loss by part", lost: "The server does not answer. It may have been stopped.", lowest: "lowest", measured: "Measured",
    memory: "Memory", name: "Name", negative: "Negative prompt", newest: "Newest", next: "Next step", no_match: "No run matches.",
    none: "none", nonfinite: "{count} values are not finite", notice: "Notice", not_found: "There is no such run.", of: "of", only_changed: "Only keys that differ from their defaults",
    other: "Other values", pause: "Pause", plan: "Plan", plan_none: "No plan yet. Write one with", play: "Play", png: "PNG", predicted: "Predicted",
    previous: "Previous step", probe_timesteps: "Loss on training samples by timestep", profile: "Time of a step", progress: "Progress",
    prompt: "Prompt", prompts: "Prompts, one per line", queue: "Queue", queued: "waiting", reading: "Reading metrics: {share} %", reset: "Reset",
    run: "Run", runs: "Runs", running: "running", samples: "Samples", samples_x: "Images", sampler: "Sampler", saved: "Checkpoint saved",
    scores: "Scores", seed: "Seed", share_of_peak: "Share of the device's peak", side_by_side: "Side by side", smoothing: "Smoothing", sort: "Sort by {name}", started: "Started",
    state: "State", step: "Step", steps: "Steps", theme: "Theme", through_time: "Through time", time: "Time", time_left: "Time left", timesteps: "Validation loss by timestep",
    to: "To", tokens_per_second: "Tokens per second", training_set: "training samples", try: "Try", try_cpu: "CPU (leaves the GPU to the run)", try_device: "Device", try_none: "No checkpoint yet: images can be made after the first one.",
    try_own: "As the run", updated: "Updated", use_prompt: "Use as preview prompts (copy YAML)", validation: "Validation loss",
    validation_parts: "Validation loss by part", versions: "Versions", weights: "Weights", width: "Width", working: "sampling",
    x_axis: "x axis", bad_step: "Step was not finite", done: "done", cancelled: "cancelled", zoom_hint: "Drag over a chart to zoom in.",
    continue_hint: "Continue with", skip: "Skip to content", from_config: "written in the config", key: "Key", default_is: "Default", run_default: "the run's",
    step_seconds: "Seconds per step", total_time: "Whole run", checkpoint_size: "One checkpoint", peak_memory: "Peak memory",
  },
  zh: {
    about: "关于", all_prompts: "所有提示词", all_states: "所有状态", averaged: "平均权重", best: "最佳",
    best_loss: "最佳验证损失", best_saved: "已保存最佳检查点", cancel: "取消", check: "dit-run check 样张图",
    check_none: "还没有样张图。用此命令生成", checkpoint: "检查点",
    compare: "比较", compare_hint: "选择两个或更多训练进行比较。", compare_title: "比较",
    config: "配置", config_differences: "配置差异", continued: "继续训练", copied: "已复制",
    csv: "CSV", curves: "曲线", dark: "深色", default: "默认", device: "设备", differs_none: "配置没有差异。",
    does_not_matter: "不影响学习结果", download: "下载", empty_metrics: "还没有记录任何数值。",
    empty_runs: "此处还没有训练：", empty_samples: "还没有样本。sampling.every_n_steps 决定何时生成。",
    events: "事件", failed: "失败", failure: "失败，训练继续", filter: "筛选训练", filter_keys: "筛选配置项", finished: "完成",
    first_step: "第一步数", folder: "文件夹", forked: "分叉自", from: "从", generate: "生成", gradient_norm: "梯度范数",
    grid: "完整网格图 (PNG)", group: "按文件夹分组", guidance: "引导强度", held_out: "留出样本", height: "高度", idle: "空闲：内存已释放。",
    images_per_second: "每秒图像数", interrupted: "已中断", killed: "被终止", language: "English", later_step: "后一步数",
    learning_rate: "学习率", least_noise: "噪声最少", light: "浅色", live: "实时权重", log_x: "x 对数", log_y: "y 对数", loss: "训练损失",
    loss_parts: "各部分训练损失", lost: "服务器没有响应，可能已停止。", lowest: "最低", measured: "实测",
    memory: "内存", name: "名称", negative: "负面提示词", newest: "最新", next: "下一步", no_match: "没有符合条件的训练。",
    none: "无", nonfinite: "{count} 个数值不是有限数", notice: "提示", not_found: "没有这个训练。", of: "/", only_changed: "只显示与默认值不同的项",
    other: "其他数值", pause: "暂停", plan: "计划", plan_none: "还没有计划。用此命令生成", play: "播放", png: "PNG", predicted: "预测",
    previous: "上一步", probe_timesteps: "训练样本各时间步损失", profile: "每步用时", progress: "进度",
    prompt: "提示词", prompts: "提示词（每行一个）", queue: "队列", queued: "等待中", reading: "正在读取数值：{share} %", reset: "重置",
    run: "训练", runs: "训练", running: "运行中", samples: "样本", samples_x: "图像数", sampler: "采样器", saved: "已保存检查点",
    scores: "评分", seed: "种子", share_of_peak: "占设备峰值的比例", side_by_side: "并排比较", smoothing: "平滑", sort: "按{name}排序", started: "开始",
    state: "状态", step: "步数", steps: "步数", theme: "主题", through_time: "随时间变化", time: "时间", time_left: "剩余时间", timesteps: "各时间步验证损失",
    to: "到", tokens_per_second: "每秒 token 数", training_set: "训练样本", try: "试用", try_cpu: "CPU（把 GPU 留给训练）", try_device: "设备", try_none: "还没有检查点：第一个检查点之后才能生成图像。",
    try_own: "与训练相同", updated: "更新", use_prompt: "用作预览提示词（复制 YAML）", validation: "验证损失",
    validation_parts: "各部分验证损失", versions: "版本", weights: "权重", width: "宽度", working: "生成中",
    x_axis: "x 轴", bad_step: "该步不是有限数", done: "完成", cancelled: "已取消", zoom_hint: "在图上拖动可放大。",
    continue_hint: "继续命令", skip: "跳到内容", from_config: "写在配置中", key: "配置项", default_is: "默认值", run_default: "训练的设置",
    step_seconds: "每步秒数", total_time: "整个训练", checkpoint_size: "单个检查点", peak_memory: "内存峰值",
  },
};

let language = stored("language") || (navigator.language.startsWith("zh") ? "zh" : "en");

export function stored(name) {
  try { return localStorage.getItem(`dit-run.${name}`); } catch { return null; }
}

export function store(name, value) {
  try { localStorage.setItem(`dit-run.${name}`, value); } catch { /* the choice lasts as long as the page */ }
}

export function currentLanguage() { return language; }

export function changeLanguage() {
  language = language === "en" ? "zh" : "en";
  store("language", language);
}

// The text of a key in the current language; {name} is replaced by values.name.
export function t(key, values = {}) {
  const text = WORDS[language][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}
