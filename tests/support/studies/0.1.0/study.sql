BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('v3.2.0.a');
CREATE TABLE studies (
	study_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	study_name VARCHAR(512) NOT NULL
);
INSERT INTO "studies" VALUES(1,'kept');
CREATE TABLE study_directions (
	study_direction_id INTEGER NOT NULL, 
	direction VARCHAR(8) NOT NULL, 
	study_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	PRIMARY KEY (study_direction_id), 
	UNIQUE (study_id, objective), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_directions" VALUES(1,'MAXIMIZE',1,0);
CREATE TABLE study_system_attributes (
	study_system_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_system_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_system_attributes" VALUES(1,1,'study:metric_names','["val_accuracy"]');
INSERT INTO "study_system_attributes" VALUES(2,1,'kerastune_optuna:epochs_since','0');
INSERT INTO "study_system_attributes" VALUES(3,1,'kerastune_optuna:keep_best:1','true');
CREATE TABLE study_user_attributes (
	study_user_attribute_id INTEGER NOT NULL, 
	study_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (study_user_attribute_id), 
	UNIQUE (study_id, "key"), 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "study_user_attributes" VALUES(1,1,'kerastune_optuna:given','{"epochs": 3, "batch_size": 32, "dtype_policy": "float32", "code": {"the code of build_model": "6e6988a6bf16"}, "training": [[192, 20.499687722968773, -0.7735725473408758], [48, 8.48528137423857, -0.3150979115657318]], "validation": [[96, 13.833434193889797, -0.11141292890840368], [24, 7.54983443527075, -0.6564214359697258]]}');
INSERT INTO "study_user_attributes" VALUES(2,1,'kerastune_optuna:epochs','3');
INSERT INTO "study_user_attributes" VALUES(3,1,'card:f52538a9d3db','{"command": ".venv/bin/python -m tests.support.studies", "builder": "738a6a9470c0", "sampler_seed": 1790637272, "n_workers": 1, "seed": 0, "versions": {"python": "3.11.7", "kerastune_optuna": "0.1.0", "keras": "3.15.1", "optuna": "5.0.0", "numpy": "2.4.6", "tensorflow": "2.21.0"}, "backend": "tensorflow", "settings": {"floatx": "float32", "image_data_format": "channels_last", "dtype_policy": "float32"}, "platform": "Linux-6.18.44-fc-v669-x86_64-with-glibc2.41", "devices": ["2 cores of AMD EPYC"], "environment": {}, "study": {"name": "kept", "objective": "maximize val_accuracy", "sampler": "TPESampler", "pruner": "WilcoxonPruner"}, "arguments": {"epochs": 3, "validation_split": 0.0, "steps_per_execution": "auto", "executions_per_trial": 1, "callbacks": []}, "data": {"x": "float32(48, 4) c6ca034bac0c", "y": "int64(48,) 723d25285837", "validation_data": "float32(24, 4) 401c2599e883, int64(24,) 26d93c1cf37b"}}');
CREATE TABLE trial_heartbeats (
	trial_heartbeat_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	heartbeat DATETIME NOT NULL, 
	PRIMARY KEY (trial_heartbeat_id), 
	UNIQUE (trial_id), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
CREATE TABLE trial_intermediate_values (
	trial_intermediate_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	step INTEGER NOT NULL, 
	intermediate_value FLOAT, 
	intermediate_value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_intermediate_value_id), 
	UNIQUE (trial_id, step), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_intermediate_values" VALUES(1,1,0,4.58333343267440795e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(2,1,1,7.08333313465118408e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(3,1,2,8.33333313465118408e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(4,2,0,7.91666686534881591e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(5,2,1,7.91666686534881591e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(6,2,2,8.33333313465118408e-01,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(7,3,0,0.375,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(8,3,1,0.375,'FINITE');
INSERT INTO "trial_intermediate_values" VALUES(9,3,2,0.375,'FINITE');
CREATE TABLE trial_params (
	param_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	param_name VARCHAR(512), 
	param_value FLOAT, 
	distribution_json TEXT, 
	PRIMARY KEY (param_id), 
	UNIQUE (trial_id, param_name), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_params" VALUES(1,1,'units',8.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 2, "high": 8}}');
INSERT INTO "trial_params" VALUES(2,1,'lr',0.1,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(3,2,'units',7.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 2, "high": 8}}');
INSERT INTO "trial_params" VALUES(4,2,'lr',5.14086769229017345e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.001, "high": 0.1, "log": true}}');
INSERT INTO "trial_params" VALUES(5,3,'units',4.0,'{"name": "IntDistribution", "attributes": {"log": false, "step": 1, "low": 2, "high": 8}}');
INSERT INTO "trial_params" VALUES(6,3,'lr',3.05600246161360578e-03,'{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.001, "high": 0.1, "log": true}}');
CREATE TABLE trial_system_attributes (
	trial_system_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_system_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_system_attributes" VALUES(1,1,'kerastune_optuna:slot','"vm-339034662e9a"');
INSERT INTO "trial_system_attributes" VALUES(2,1,'fixed_params','{"units": 8, "lr": 0.1}');
INSERT INTO "trial_system_attributes" VALUES(3,1,'kerastune_optuna:point','{"order": 0, "key": "{\"lr\": 0.1, \"units\": 8}"}');
INSERT INTO "trial_system_attributes" VALUES(4,1,'kerastune_optuna:mark','"4440dcf73e664a0e98b63abbbd317ae3"');
INSERT INTO "trial_system_attributes" VALUES(5,1,'artifacts:da393603-57f7-4f36-b146-0ccd8a9627fa','"{\"artifact_id\": \"da393603-57f7-4f36-b146-0ccd8a9627fa\", \"filename\": \"history.csv\", \"mimetype\": \"text/csv\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(6,1,'kerastune_optuna:variables','"a21e4a080cc60d478e168ee1038aca62ce5c3567a57d9d66b6ffa7f52f8143dc"');
INSERT INTO "trial_system_attributes" VALUES(7,1,'kerastune_optuna:weights_sha256','"92b06aed1049c2550c05c1b9a42a70dc50d82586a56ab76864f990650bc48ee3"');
INSERT INTO "trial_system_attributes" VALUES(8,1,'artifacts:d7ac1805-f252-48a1-aca1-578cd1dafc7a','"{\"artifact_id\": \"d7ac1805-f252-48a1-aca1-578cd1dafc7a\", \"filename\": \"trial_0000.weights.h5\", \"mimetype\": \"application/x-hdf5\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(9,2,'kerastune_optuna:slot','"vm-339034662e9a"');
INSERT INTO "trial_system_attributes" VALUES(10,2,'kerastune_optuna:mark','"8b280d8fe8ef44149caa8d5f8815beb7"');
INSERT INTO "trial_system_attributes" VALUES(11,3,'kerastune_optuna:slot','"vm-339034662e9a"');
INSERT INTO "trial_system_attributes" VALUES(12,3,'kerastune_optuna:mark','"3d085668a48f4b4883b3c2406ffdbf11"');
INSERT INTO "trial_system_attributes" VALUES(13,2,'kerastune_optuna:beat','1');
INSERT INTO "trial_system_attributes" VALUES(14,2,'artifacts:da804d2c-fe50-4b4e-9c25-73c4c59854ca','"{\"artifact_id\": \"da804d2c-fe50-4b4e-9c25-73c4c59854ca\", \"filename\": \"history.csv\", \"mimetype\": \"text/csv\", \"encoding\": null}"');
INSERT INTO "trial_system_attributes" VALUES(15,3,'kerastune_optuna:beat','2');
INSERT INTO "trial_system_attributes" VALUES(16,3,'artifacts:f0213be5-4f11-44ee-a3c5-52032e5e809a','"{\"artifact_id\": \"f0213be5-4f11-44ee-a3c5-52032e5e809a\", \"filename\": \"history.csv\", \"mimetype\": \"text/csv\", \"encoding\": null}"');
CREATE TABLE trial_user_attributes (
	trial_user_attribute_id INTEGER NOT NULL, 
	trial_id INTEGER, 
	"key" VARCHAR(512), 
	value_json TEXT, 
	PRIMARY KEY (trial_user_attribute_id), 
	UNIQUE (trial_id, "key"), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_user_attributes" VALUES(1,1,'worker','"vm-339034662e9a:32356:163742@11354744"');
INSERT INTO "trial_user_attributes" VALUES(2,1,'seed','1878776328');
INSERT INTO "trial_user_attributes" VALUES(3,1,'card','"f52538a9d3db"');
INSERT INTO "trial_user_attributes" VALUES(4,1,'epochs','3');
INSERT INTO "trial_user_attributes" VALUES(5,1,'best_value','0.8333333134651184');
INSERT INTO "trial_user_attributes" VALUES(6,1,'best_epoch','2');
INSERT INTO "trial_user_attributes" VALUES(7,1,'epochs_run','3');
INSERT INTO "trial_user_attributes" VALUES(8,1,'stop_reason','"all epochs"');
INSERT INTO "trial_user_attributes" VALUES(9,1,'n_params','67');
INSERT INTO "trial_user_attributes" VALUES(10,1,'seconds','8.793');
INSERT INTO "trial_user_attributes" VALUES(11,2,'worker','"vm-339034662e9a:32356:163742@11354744"');
INSERT INTO "trial_user_attributes" VALUES(12,2,'seed','336614359');
INSERT INTO "trial_user_attributes" VALUES(13,2,'card','"f52538a9d3db"');
INSERT INTO "trial_user_attributes" VALUES(14,2,'epochs','3');
INSERT INTO "trial_user_attributes" VALUES(15,2,'best_value','0.8333333134651184');
INSERT INTO "trial_user_attributes" VALUES(16,2,'best_epoch','2');
INSERT INTO "trial_user_attributes" VALUES(17,2,'epochs_run','3');
INSERT INTO "trial_user_attributes" VALUES(18,2,'stop_reason','"all epochs"');
INSERT INTO "trial_user_attributes" VALUES(19,2,'n_params','59');
INSERT INTO "trial_user_attributes" VALUES(20,2,'seconds','4.83');
INSERT INTO "trial_user_attributes" VALUES(21,3,'worker','"vm-339034662e9a:32356:163742@11354744"');
INSERT INTO "trial_user_attributes" VALUES(22,3,'seed','1620722436');
INSERT INTO "trial_user_attributes" VALUES(23,3,'card','"f52538a9d3db"');
INSERT INTO "trial_user_attributes" VALUES(24,3,'epochs','3');
INSERT INTO "trial_user_attributes" VALUES(25,3,'best_value','0.375');
INSERT INTO "trial_user_attributes" VALUES(26,3,'best_epoch','2');
INSERT INTO "trial_user_attributes" VALUES(27,3,'epochs_run','3');
INSERT INTO "trial_user_attributes" VALUES(28,3,'stop_reason','"all epochs"');
INSERT INTO "trial_user_attributes" VALUES(29,3,'n_params','35');
INSERT INTO "trial_user_attributes" VALUES(30,3,'seconds','6.819');
CREATE TABLE trial_values (
	trial_value_id INTEGER NOT NULL, 
	trial_id INTEGER NOT NULL, 
	objective INTEGER NOT NULL, 
	value FLOAT, 
	value_type VARCHAR(7) NOT NULL, 
	PRIMARY KEY (trial_value_id), 
	UNIQUE (trial_id, objective), 
	FOREIGN KEY(trial_id) REFERENCES trials (trial_id)
);
INSERT INTO "trial_values" VALUES(1,1,0,8.33333313465118408e-01,'FINITE');
INSERT INTO "trial_values" VALUES(2,2,0,8.33333313465118408e-01,'FINITE');
INSERT INTO "trial_values" VALUES(3,3,0,0.375,'FINITE');
CREATE TABLE trials (
	trial_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	number INTEGER, 
	study_id INTEGER, 
	state VARCHAR(8) NOT NULL, 
	datetime_start DATETIME, 
	datetime_complete DATETIME, 
	FOREIGN KEY(study_id) REFERENCES studies (study_id)
);
INSERT INTO "trials" VALUES(1,0,1,'COMPLETE','2026-11-28 22:06:51.786269','2026-11-28 22:07:00.766544');
INSERT INTO "trials" VALUES(2,1,1,'COMPLETE','2026-11-28 22:07:01.331152','2026-11-28 22:07:06.302456');
INSERT INTO "trials" VALUES(3,2,1,'COMPLETE','2026-11-28 22:07:06.430499','2026-11-28 22:07:13.361675');
CREATE TABLE version_info (
	version_info_id INTEGER NOT NULL, 
	schema_version INTEGER, 
	library_version VARCHAR(256), 
	PRIMARY KEY (version_info_id), 
	CHECK (version_info_id=1)
);
INSERT INTO "version_info" VALUES(1,12,'5.0.0');
CREATE UNIQUE INDEX ix_studies_study_name ON studies (study_name);
CREATE INDEX ix_trials_study_id ON trials (study_id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('studies',1);
INSERT INTO "sqlite_sequence" VALUES('trials',3);
COMMIT;
